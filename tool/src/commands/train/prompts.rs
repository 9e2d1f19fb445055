//! The prompts of Asterisk, as `scripts/fetch-prompts` writes them: one voice, a few hundred words.

use std::collections::BTreeMap;
use std::path::Path;

use skinny::train::Random;

use super::augment::{SPEEDS, level_and_noise, resample, resampled_len};
use super::corpus::{self, About, Corpus, RATE, Source, Utterance, least_steps, steps};
use super::fsdd::WORDS;
use super::say;
use crate::console::Console;
use crate::error::{About as _, Failure, Result};
use crate::files;

const ABOUT: About = About {
    alphabet: " 'abcdefghijklmnopqrstuvwxyz",
    data: "Asterisk core sounds in English, 8 of 10 by a hash of the text",
    attribution: "Trained on the Asterisk core sounds in English, recorded by Allison Smith, \
                  http://downloads.asterisk.org/pub/telephony/sounds/, CC BY-SA 3.0",
    licence: "CC BY-SA 3.0, as the data it was trained on",
};

/// The longest prompt to use, in seconds. The few longer ones would make batches of one.
const LONGEST: usize = 16;

/// The most prompts per batch. The shortest prompts would otherwise make batches of hundreds.
const MOST: usize = 64;

/// The prompts to train on.
struct Prompts {
    /// Ordered by length.
    utterances: Vec<Utterance>,
    batch_steps: usize,
}

/// Reads a folder: `transcripts.txt` and the recordings it names. A hash of its text assigns a prompt to testing,
/// validation or training (1, 1 and 8 of 10). Prompts with the same text are always in the same split.
pub fn read(folder: &Path, batch_steps: usize, console: Console) -> Result<Corpus> {
    let file = folder.join("transcripts.txt");
    let text = String::from_utf8(files::read(&file)?).about(&file)?;
    let entries = parse(&text).about(&file)?;
    let mut dropped = BTreeMap::new();
    let mut splits = [const { Vec::new() }; 3];
    for (name, transcript) in entries {
        match utterance(&folder.join(format!("{name}.wav")), transcript)? {
            Ok(utterance) => splits[side(&utterance.1)].push(utterance),
            Err(reason) => *dropped.entry(reason).or_insert(0) += 1,
        }
    }
    for split in &mut splits {
        split.sort_by_key(|(samples, _)| samples.len());
    }
    let [test, validation, train] = splits;
    for (name, split) in [("training", &train), ("validation", &validation), ("test", &test)] {
        let samples: usize = split.iter().map(|(samples, _)| samples.len()).sum();
        let minutes = samples as f64 / f64::from(RATE) / 60.0;
        let letters: usize = split.iter().map(|(_, text)| text.len()).sum();
        say(console, format_args!("{name}: {} prompts, {minutes:.1} min, {letters} letters", split.len()))?;
        if split.is_empty() {
            return Err(Failure::input(format!("{}: no prompts for {name}", folder.display())));
        }
    }
    for (reason, count) in dropped {
        say(console, format_args!("dropped: {count} {reason}"))?;
    }
    Corpus::new(Box::new(Prompts { utterances: train, batch_steps }), &validation, &test)
}

/// A prompt, or why it is not used.
fn utterance(path: &Path, transcript: &str) -> Result<Result<Utterance, &'static str>> {
    let Some(text) = normalize(transcript) else { return Ok(Err("of unclear reading")) };
    if text.is_empty() {
        return Ok(Err("without speech"));
    }
    if !path.exists() {
        return Ok(Err("without a recording"));
    }
    let samples = corpus::read(path)?;
    let fastest = SPEEDS.into_iter().fold(1.0, f32::max);
    Ok(if samples.len() > LONGEST * RATE as usize {
        Err("too long")
    } else if steps(resampled_len(samples.len(), fastest)) < least_steps(&text) {
        Err("of fewer steps than letters")
    } else {
        Ok((samples, text))
    })
}

/// Reads names and transcripts from lines `name: transcript`. Lines that begin with `;` are comments.
fn parse(text: &str) -> Result<Vec<(&str, &str)>, String> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty() && !line.starts_with(';'));
    lines
        .map(|(i, line)| {
            let entry = line.split_once(':').map(|(name, transcript)| (name.trim(), transcript.trim()));
            entry.ok_or_else(|| format!("line {}: expected NAME: TRANSCRIPT, found `{line}`", i + 1))
        })
        .collect()
}

/// The spoken text, in the letters of the alphabet. Digits are spelled out. Empty for sounds that are not speech. None
/// if it is unclear how to read the text: numbers of several digits, addresses.
fn normalize(transcript: &str) -> Option<String> {
    let mut text = String::new();
    for word in without_remarks(transcript).split_whitespace() {
        let word = word.trim_matches(|c: char| c.is_ascii_punctuation() && !"*#".contains(c));
        let number = word.as_bytes().windows(2).any(|pair| pair.iter().all(u8::is_ascii_digit));
        // Points within a word separate letters that are said one by one: "A.M".
        let address = word.contains('.') && word.split('.').any(|part| part.len() != 1);
        if number || address {
            return None;
        }
        text.push(' ');
        for c in word.chars() {
            match c {
                '*' => text.push_str("star"),
                '#' => text.push_str("pound"),
                '0'..='9' => text.extend([" ", WORDS[c as usize - '0' as usize], " "]),
                _ if c.is_ascii_alphabetic() || c == '\'' => text.push(c.to_ascii_lowercase()),
                _ => text.push(' '),
            }
        }
    }
    Some(text.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// Removes text in brackets: descriptions of sounds, signs beside their names, notes.
fn without_remarks(transcript: &str) -> String {
    let mut depth = 0usize;
    let outside = transcript.chars().filter(|&c| match c {
        '[' | '(' | '<' => {
            depth += 1;
            false
        }
        ']' | ')' | '>' => {
            depth = depth.saturating_sub(1);
            false
        }
        _ => depth == 0,
    });
    outside.collect()
}

/// The split of a text: 0 for testing, 1 for validation, 2 for training. Hashes with FNV-1a, and mixes its bits with a
/// generator.
fn side(text: &str) -> usize {
    let hash = text
        .bytes()
        .fold(0xCBF2_9CE4_8422_2325u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3));
    Random::new(hash).below(10).min(2)
}

impl Prompts {
    /// Draws a batch at this speed. All utterances are cut into batches, the longest first, and one of the batches is
    /// drawn. Every utterance is equally likely.
    fn neighbours(&self, speed: f32, random: &mut Random) -> &[Utterance] {
        let mut batches = Vec::new();
        let mut end = self.utterances.len();
        while end > 0 {
            let (longest, _) = &self.utterances[end - 1];
            let fitting = (self.batch_steps / steps(resampled_len(longest.len(), speed)).max(1)).clamp(1, MOST);
            // The first cut is random, to give utterances other neighbours each time.
            let count = if batches.is_empty() { 1 + random.below(fitting) } else { fitting };
            let start = end.saturating_sub(count);
            batches.push(start..end);
            end = start;
        }
        &self.utterances[batches.swap_remove(random.below(batches.len()))]
    }
}

impl Source for Prompts {
    fn about(&self) -> About {
        ABOUT
    }

    fn utterance(&self, random: &mut Random) -> Utterance {
        let (samples, text) = &self.utterances[random.below(self.utterances.len())];
        let mut samples = resample(samples, SPEEDS[random.below(SPEEDS.len())]);
        level_and_noise(&mut samples, random);
        (samples, text.clone())
    }

    fn utterances(&self, random: &mut Random) -> Vec<Utterance> {
        // One speed per batch. With several, lengths in a batch would differ after all.
        let speed = SPEEDS[random.below(SPEEDS.len())];
        let neighbours = self.neighbours(speed, random).iter();
        neighbours
            .map(|(samples, text)| {
                let mut samples = resample(samples, speed);
                level_and_noise(&mut samples, random);
                (samples, text.clone())
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transcripts_are_lines_of_a_name_and_a_text() {
        let text = "; Core Asterisk Sounds in English\n\nagent-pass: Please enter: 1.\r\ndigits/h-11: eleventh\n";
        assert_eq!(parse(text), Ok(vec![("agent-pass", "Please enter: 1."), ("digits/h-11", "eleventh")]));
        let error = parse("; a\nbeep\n").unwrap_err();
        assert_eq!(error, "line 2: expected NAME: TRANSCRIPT, found `beep`");
    }

    #[test]
    fn texts_become_letters() {
        for (transcript, text) in [
            ("Goodbye!", "goodbye"),
            ("... letters of your party's first  name.", "letters of your party's first name"),
            ("press * to pause, press # to enter", "press star to pause press pound to enter"),
            ("or 8 for 3D audio", "or eight for three d audio"),
            ("To re-record it.", "to re record it"),
            ("A.M.", "a m"),
            ("a polite \"don't call\" menu", "a polite don't call menu"),
            ("at [@]", "at"),
            ("IAX (note: does not say \"2\")", "iax"),
            ("[sound of monkeys screaming]", ""),
            ("<beep ascending>", ""),
            ("(10 seconds of silence)", ""),
        ] {
            assert_eq!(normalize(transcript).as_deref(), Some(text), "{transcript}");
            assert!(text.chars().all(|c| ABOUT.alphabet.contains(c)), "{text}");
        }
    }

    #[test]
    fn texts_of_unclear_reading_are_refused() {
        for transcript in ["you can dial 500", "a 28.8 kilobit modem", "H.323", "visit www.asterisk.org."] {
            assert_eq!(normalize(transcript), None, "{transcript}");
        }
    }

    #[test]
    fn texts_that_are_the_same_are_on_one_side() {
        let sides: Vec<_> = (0..1000).map(|i| side(&format!("text {i}"))).collect();
        let count = |side| sides.iter().filter(|&&other| other == side).count();
        assert!((70..130).contains(&count(0)) && (70..130).contains(&count(1)), "{} {}", count(0), count(1));
        assert_eq!(side("thank you"), side("thank you"));
    }

    #[test]
    fn batches_are_bounded_and_draw_all_equally_often() {
        let utterances = (0..400).map(|i| (vec![0.0; 2000 + 300 * i], String::new())).collect();
        let prompts = Prompts { utterances, batch_steps: 3000 };
        let mut drawn = [0; 400];
        let mut random = Random::new(1);
        for i in 0..40_000 {
            let speed = SPEEDS[i % SPEEDS.len()];
            let neighbours = prompts.neighbours(speed, &mut random);
            let longest = neighbours.last().map_or(0, |(samples, _)| steps(resampled_len(samples.len(), speed)));
            assert!((1..=MOST).contains(&neighbours.len()) && neighbours.len() * longest <= 3000);
            for (samples, _) in neighbours {
                drawn[(samples.len() - 2000) / 300] += 1;
            }
        }
        let mean = drawn.iter().sum::<usize>() / drawn.len();
        let far = drawn.iter().position(|&count| count.abs_diff(mean) > mean / 4);
        assert_eq!(far, None, "{drawn:?}, mean {mean}");
    }
}
