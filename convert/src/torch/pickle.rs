//! A restricted unpickler. It makes numbers, text, containers, tensors and inert objects. It calls nothing: what a pickle would call is
//! either known to make one of these, or refused by name.
//!
//! All values of a pickle lie in one list and refer to each other by their places there. A value costs at least one byte of the
//! pickle, so memory stays in proportion to it, and neither depth nor cycles nor references to references can do harm.

mod build;

use std::collections::BTreeMap;

use crate::cursor::Cursor;
use crate::error::{Error, Result};
use crate::format::Format;

/// The place of a value in a [`Pickle`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Id(u32);

/// A value of Python.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value<'a> {
    /// `None`, and whatever nothing here looks at: the result of `torch.device("cpu")`, bytes.
    Other,
    Bool(bool),
    Int(i64),
    Text(&'a str),
    /// A list, a tuple or a set.
    Sequence(Vec<Id>),
    /// Alternately keys and values.
    Dict(Vec<Id>),
    /// A function or class, with its module. It is never called.
    Global(&'a str, &'a str),
    /// An object of a class, with its attributes once they are known.
    Object {
        class: Id,
        attributes: Option<Id>,
    },
    Storage(Storage<'a>),
    Tensor(Box<View>),
}

/// The numbers that tensors are views of.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Storage<'a> {
    /// The class, such as `FloatStorage`, which says the type of the elements.
    pub class: &'a str,
    pub key: &'a str,
    /// The number of elements; of an `UntypedStorage`, the number of bytes.
    pub elements: u64,
}

/// A tensor as a view of a storage, counted in elements.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct View {
    pub storage: Id,
    /// The type, such as `float32`, if the storage has none.
    pub dtype: Option<Id>,
    pub offset: u64,
    pub shape: Vec<u64>,
    pub strides: Vec<u64>,
}

/// The values of a pickle, of which the last one made is the result.
#[derive(Debug)]
pub(super) struct Pickle<'a> {
    values: Vec<Value<'a>>,
    pub root: Id,
}

impl<'a> Pickle<'a> {
    pub fn get(&self, id: Id) -> &Value<'a> {
        &self.values[id.0 as usize]
    }

    /// The storages of a pickle.
    pub fn storages(&self) -> impl Iterator<Item = &Storage<'a>> {
        self.values.iter().filter_map(|value| if let Value::Storage(storage) = value { Some(storage) } else { None })
    }

    /// A key of a dictionary, as a part of a name.
    pub fn key(&self, id: Id) -> Option<String> {
        match self.get(id) {
            Value::Text(key) => Some((*key).into()),
            Value::Int(key) => Some(key.to_string()),
            _ => None,
        }
    }
}

fn damaged(reason: &str) -> Error {
    Error::container(Format::Torch, format!("its pickle is damaged: {reason}"))
}

/// Reads one pickle, and leaves the cursor behind it.
pub(super) fn read<'a>(cursor: &mut Cursor<'a>) -> Result<Pickle<'a>> {
    let mut machine = Machine {
        values: Vec::new(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: BTreeMap::new(),
        copies: cursor.0.len(),
    };
    loop {
        let code = cursor.u8().ok_or_else(|| damaged("it is cut short"))?;
        if code == b'.' {
            let root = machine.pop()?;
            return Ok(Pickle { values: machine.values, root });
        }
        machine.step(code, cursor)?;
    }
}

/// The state of the unpickler.
struct Machine<'a> {
    values: Vec<Value<'a>>,
    stack: Vec<Id>,
    /// The heights of the stack at its marks.
    marks: Vec<usize>,
    memo: BTreeMap<u32, Id>,
    /// Entries of lists that calls may still copy into dictionaries. An honest pickle copies a list once.
    copies: usize,
}

impl<'a> Machine<'a> {
    /// Executes an operation, whose arguments the cursor has next.
    fn step(&mut self, code: u8, cursor: &mut Cursor<'a>) -> Result<()> {
        let cut = || damaged("it is cut short");
        match code {
            // PROTO, FRAME.
            0x80 => drop(cursor.u8().ok_or_else(cut)?),
            0x95 => drop(cursor.u64().ok_or_else(cut)?),
            // The stack: MARK, POP, POP_MARK, DUP.
            b'(' => self.marks.push(self.stack.len()),
            b'0' if self.marks.last() == Some(&self.stack.len()) => drop(self.marks.pop()),
            b'0' => drop(self.pop()?),
            b'1' => drop(self.pop_to_mark()?),
            b'2' => {
                let top = self.top()?;
                self.stack.push(top);
            }
            // The memo: GET, BINGET, LONG_BINGET, PUT, BINPUT, LONG_BINPUT, MEMOIZE.
            b'g' | b'h' | b'j' => {
                let key = memo_key(code, cursor)?;
                let id = *self.memo.get(&key).ok_or_else(|| damaged("it refers to a value that it never kept"))?;
                self.stack.push(id);
            }
            b'p' | b'q' | b'r' => {
                let (key, top) = (memo_key(code, cursor)?, self.top()?);
                self.memo.insert(key, top);
            }
            0x94 => {
                let top = self.top()?;
                self.memo.insert(self.memo.len() as u32, top);
            }
            // NONE, NEWTRUE, NEWFALSE.
            b'N' => self.push(Value::Other)?,
            0x88 | 0x89 => self.push(Value::Bool(code == 0x88))?,
            b'I' | b'J' | b'K' | b'M' | b'L' | 0x8a | 0x8b => self.number(code, cursor)?,
            // FLOAT, BINFLOAT: no tensor is made of them.
            b'F' => self.skipped(cursor.line())?,
            b'G' => self.skipped(cursor.bytes(8))?,
            // SHORT_BINBYTES, BINBYTES, BINBYTES8, BYTEARRAY8.
            b'C' | b'B' | 0x8e | 0x96 => {
                let bytes = sized(
                    if code == b'C' {
                        1
                    } else if code == b'B' {
                        4
                    } else {
                        8
                    },
                    cursor,
                );
                self.skipped(bytes)?;
            }
            // SHORT_BINUNICODE, BINUNICODE, BINUNICODE8, and SHORT_BINSTRING, BINSTRING of Python 2.
            0x8c | b'X' | 0x8d | b'U' | b'T' => {
                let bytes = sized(
                    if matches!(code, 0x8c | b'U') {
                        1
                    } else if code == 0x8d {
                        8
                    } else {
                        4
                    },
                    cursor,
                );
                self.text(bytes.ok_or_else(cut)?)?;
            }
            // UNICODE, STRING.
            b'V' | b'S' => {
                let line = cursor.line().ok_or_else(cut)?;
                if line.contains(&b'\\') {
                    return Err(damaged("text with escapes, of protocol 0; save it with protocol 2"));
                }
                let quoted = |quote: &[u8]| line.strip_prefix(quote).and_then(|text| text.strip_suffix(quote));
                self.text(if code == b'V' { line } else { quoted(b"'").or(quoted(b"\"")).ok_or_else(cut)? })?;
            }
            _ => self.compound(code, cursor)?,
        }
        Ok(())
    }

    /// Executes an operation that makes or changes a container or an object.
    fn compound(&mut self, code: u8, cursor: &mut Cursor<'a>) -> Result<()> {
        let cut = || damaged("it is cut short");
        match code {
            // EMPTY_LIST, EMPTY_TUPLE, EMPTY_SET, EMPTY_DICT.
            b']' | b')' | 0x8f => self.push(Value::Sequence(Vec::new()))?,
            b'}' => self.push(Value::Dict(Vec::new()))?,
            // TUPLE1 to TUPLE3; TUPLE, LIST, FROZENSET, DICT.
            0x85..=0x87 => {
                let start = self.stack.len().checked_sub(usize::from(code) - 0x84);
                let start = start.filter(|start| self.marks.last().is_none_or(|mark| mark <= start));
                let items = self.stack.split_off(start.ok_or_else(|| damaged("its stack is empty"))?);
                self.push(Value::Sequence(items))?;
            }
            b't' | b'l' | 0x91 => {
                let items = self.pop_to_mark()?;
                self.push(Value::Sequence(items))?;
            }
            b'd' => {
                let items = pairs(self.pop_to_mark()?)?;
                self.push(Value::Dict(items))?;
            }
            // APPEND, APPENDS, ADDITEMS; SETITEM, SETITEMS.
            b'a' => {
                let item = self.pop()?;
                self.extend(vec![item])?;
            }
            b'e' | 0x90 => {
                let items = self.pop_to_mark()?;
                self.extend(items)?;
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.insert(vec![key, value])?;
            }
            b'u' => {
                let items = pairs(self.pop_to_mark()?)?;
                self.insert(items)?;
            }
            // GLOBAL, STACK_GLOBAL.
            b'c' => {
                let line = |cursor: &mut Cursor<'a>| utf8(cursor.line().ok_or_else(cut)?);
                let global = Value::Global(line(cursor)?, line(cursor)?);
                self.push(global)?;
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let (&Value::Text(module), &Value::Text(name)) = (self.get(module), self.get(name)) else {
                    return Err(damaged("a class without a name"));
                };
                self.push(Value::Global(module, name))?;
            }
            // NEWOBJ, NEWOBJ_EX: the arguments are ignored, as nothing is called.
            0x81 | 0x92 => {
                if code == 0x92 {
                    self.pop()?;
                }
                self.pop()?;
                let class = self.pop()?;
                self.push(Value::Object { class, attributes: None })?;
            }
            // REDUCE, BUILD, BINPERSID.
            b'R' => {
                let (arguments, function) = (self.pop()?, self.pop()?);
                let value = self.call(function, arguments)?;
                self.stack.push(value);
            }
            b'b' => {
                let attributes = self.pop()?;
                let object = self.top()?;
                self.build(object, attributes)?;
            }
            b'Q' => {
                let id = self.pop()?;
                let storage = self.storage(id)?;
                self.push(storage)?;
            }
            // INST, OBJ: calls of a class as protocols 0 and 1 write them.
            b'i' => {
                let name = [cursor.line(), cursor.line()].map(|line| String::from_utf8_lossy(line.unwrap_or_default()));
                return Err(Error::Call { name: name.join(".") });
            }
            b'o' => {
                let items = self.pop_to_mark()?;
                let class = items.first().ok_or_else(|| damaged("a call of nothing"))?;
                return Err(Error::Call { name: self.global_name(*class) });
            }
            _ => return Err(damaged(&format!("operation 0x{code:02x} is not one of torch.save's"))),
        }
        Ok(())
    }

    /// INT, BININT, BININT1, BININT2, LONG, LONG1, LONG4.
    fn number(&mut self, code: u8, cursor: &mut Cursor<'a>) -> Result<()> {
        let cut = || damaged("it is cut short");
        let value = match code {
            b'J' => Value::Int(cursor.array().map(i32::from_le_bytes).ok_or_else(cut)?.into()),
            b'K' => Value::Int(cursor.u8().ok_or_else(cut)?.into()),
            b'M' => Value::Int(cursor.u16().ok_or_else(cut)?.into()),
            b'I' | b'L' => match utf8(cursor.line().ok_or_else(cut)?)? {
                "01" if code == b'I' => Value::Bool(true),
                "00" if code == b'I' => Value::Bool(false),
                // A number too large for 64 bits is none that a tensor needs.
                text => text.trim_end_matches('L').parse().map_or(Value::Other, Value::Int),
            },
            _ => {
                let bytes = sized(if code == 0x8a { 1 } else { 4 }, cursor).ok_or_else(cut)?;
                let sign = if bytes.last().is_some_and(|byte| byte & 0x80 != 0) { 0xff } else { 0 };
                let mut wide = [sign; 8];
                match wide.get_mut(..bytes.len()) {
                    Some(low) => {
                        low.copy_from_slice(bytes);
                        Value::Int(i64::from_le_bytes(wide))
                    }
                    None => Value::Other,
                }
            }
        };
        self.push(value)
    }

    fn get(&self, id: Id) -> &Value<'a> {
        &self.values[id.0 as usize]
    }

    fn add(&mut self, value: Value<'a>) -> Result<Id> {
        let id = u32::try_from(self.values.len()).map_err(|_| damaged("it has more than 2^32 values"))?;
        self.values.push(value);
        Ok(Id(id))
    }

    fn push(&mut self, value: Value<'a>) -> Result<()> {
        let id = self.add(value)?;
        self.stack.push(id);
        Ok(())
    }

    /// Pushes a value that nothing looks at, whose bytes were read.
    fn skipped(&mut self, bytes: Option<&[u8]>) -> Result<()> {
        bytes.ok_or_else(|| damaged("it is cut short"))?;
        self.push(Value::Other)
    }

    fn text(&mut self, bytes: &'a [u8]) -> Result<()> {
        // Python 2 wrote bytes and text alike. What is not UTF-8 is no name.
        self.push(std::str::from_utf8(bytes).map_or(Value::Other, Value::Text))
    }

    fn pop(&mut self) -> Result<Id> {
        let empty = self.marks.last() == Some(&self.stack.len());
        self.stack.pop().filter(|_| !empty).ok_or_else(|| damaged("its stack is empty"))
    }

    fn top(&self) -> Result<Id> {
        let empty = self.marks.last() == Some(&self.stack.len());
        self.stack.last().copied().filter(|_| !empty).ok_or_else(|| damaged("its stack is empty"))
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Id>> {
        let mark = self.marks.pop().ok_or_else(|| damaged("its stack has no mark"))?;
        Ok(self.stack.split_off(mark))
    }

    fn extend(&mut self, items: Vec<Id>) -> Result<()> {
        let top = self.top()?;
        match &mut self.values[top.0 as usize] {
            Value::Sequence(sequence) => sequence.extend(items),
            // A list that nothing looks at.
            Value::Object { .. } | Value::Other => {}
            _ => return Err(damaged("an item for what is no list")),
        }
        Ok(())
    }

    fn insert(&mut self, items: Vec<Id>) -> Result<()> {
        let top = self.top()?;
        match &mut self.values[top.0 as usize] {
            Value::Dict(dict) => dict.extend(items),
            Value::Object { .. } | Value::Other => {}
            _ => return Err(damaged("an entry for what is no dictionary")),
        }
        Ok(())
    }
}

fn pairs(items: Vec<Id>) -> Result<Vec<Id>> {
    if items.len().is_multiple_of(2) { Ok(items) } else { Err(damaged("a key without a value")) }
}

fn utf8(bytes: &[u8]) -> Result<&str> {
    std::str::from_utf8(bytes).map_err(|_| damaged("a name is not text"))
}

/// As many bytes as a number of `width` bytes says.
fn sized<'a>(width: usize, cursor: &mut Cursor<'a>) -> Option<&'a [u8]> {
    let len = match width {
        1 => cursor.u8()?.into(),
        4 => cursor.u32()?.into(),
        _ => cursor.u64()?,
    };
    cursor.bytes(usize::try_from(len).ok()?)
}

fn memo_key(code: u8, cursor: &mut Cursor<'_>) -> Result<u32> {
    let key = match code {
        b'h' | b'q' => cursor.u8().map(u32::from),
        b'j' | b'r' => cursor.u32(),
        _ => cursor.line().and_then(|line| std::str::from_utf8(line).ok()?.parse().ok()),
    };
    key.ok_or_else(|| damaged("it is cut short"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(bytes: &[u8]) -> String {
        read(&mut Cursor(bytes)).unwrap_err().to_string()
    }

    #[test]
    fn values_are_read() {
        fn value(bytes: &[u8]) -> Value<'_> {
            let pickle = read(&mut Cursor(bytes)).unwrap();
            pickle.get(pickle.root).clone()
        }
        assert_eq!(value(b"\x80\x02K\x07."), Value::Int(7));
        assert_eq!(value(b"J\xfe\xff\xff\xff."), Value::Int(-2));
        assert_eq!(value(b"\x8a\x01\x80."), Value::Int(-128));
        assert_eq!(value(b"\x8a\x00."), Value::Int(0));
        assert_eq!(value(b"\x8a\x09\x00\x00\x00\x00\x00\x00\x00\x80\x00."), Value::Other);
        assert_eq!(value(b"I01\n."), Value::Bool(true));
        assert_eq!(value(b"L-12L\n."), Value::Int(-12));
        assert_eq!(value(b"X\x02\x00\x00\x00ab."), Value::Text("ab"));
        assert_eq!(value(b"S'ab'\n."), Value::Text("ab"));
        assert_eq!(value(b"(K\x01q\x00h\x00t."), Value::Sequence(vec![Id(0), Id(0)]));
        assert_eq!(value(b"}(K\x01K\x02u."), Value::Dict(vec![Id(1), Id(2)]));
        assert_eq!(value(b"\x8c\x02os\x8c\x06system\x93."), Value::Global("os", "system"));
    }

    #[test]
    fn calls_are_refused_by_name() {
        // In the ways of all protocols.
        for bytes in [
            &b"\x80\x02cos\nsystem\nX\x02\x00\x00\x00id\x85R."[..],
            b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x02id\x85R.",
            b"(S'id'\nios\nsystem\n.",
            b"(cos\nsystem\nS'id'\no.",
        ] {
            assert!(message(bytes).starts_with("the file calls os.system,"), "{}", message(bytes));
        }
        assert!(message(b"K\x01)R.").starts_with("the file calls a value that is no function,"));
    }

    #[test]
    fn damage_is_an_error() {
        for bytes in [&b""[..], b"K", b".", b"(.", b"h\x05.", b"(K\x01u.", b"}(K\x01u.", b"0.", b"1.", b"\x85.", b"2."]
        {
            assert!(message(bytes).contains("damaged"), "{bytes:?}");
        }
        assert!(message(b"(\x85.").contains("stack is empty"));
        assert!(message(b"X\xff\xff\xff\xffab.").contains("cut short"));
        assert!(message(b"\x8d\xff\xff\xff\xff\xff\xff\xff\xffab.").contains("cut short"));
        assert!(message(b"\xff").contains("operation 0xff"));
    }

    #[test]
    fn depth_and_cycles_take_no_stack() {
        let deep = [&b"]".repeat(100_000)[..], &b"a".repeat(99_999), b"."].concat();
        assert!(read(&mut Cursor(&deep)).is_ok());
        assert!(read(&mut Cursor(b"]q\x00h\x00a.")).is_ok());
    }
}
