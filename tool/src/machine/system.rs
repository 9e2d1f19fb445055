//! The files in which Linux describes a machine. On other systems there are none, and nothing is known.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

use super::Moment;

/// The most bytes that are read of a file.
const MOST: u64 = 1 << 20;

/// The folder that holds `proc` and `sys`.
pub struct System(PathBuf);

impl System {
    pub fn here() -> Self {
        Self("/".into())
    }

    /// The text of a file, if there is one.
    pub fn text(&self, path: &str) -> Option<String> {
        let mut bytes = Vec::new();
        File::open(self.0.join(path)).ok()?.take(MOST).read_to_end(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The first line of a file, as text that may be printed.
    pub fn line(&self, path: &str) -> Option<String> {
        let text = self.text(path)?;
        let line = text.split(['\n', '\0']).next()?.trim();
        let line: String = line.chars().filter(|c| !c.is_control()).take(100).collect();
        Some(line).filter(|line| !line.is_empty())
    }

    pub fn number(&self, path: &str) -> Option<f64> {
        self.line(path)?.parse().ok()
    }

    /// Where the link at this path leads.
    pub fn link(&self, path: &str) -> Option<PathBuf> {
        std::fs::read_link(self.0.join(path)).ok()
    }

    /// The entries of `proc/cpuinfo`: for each processor, in order, its names and values.
    pub fn processors(&self) -> Vec<Vec<(String, String)>> {
        let text = self.text("proc/cpuinfo").unwrap_or_default();
        let mut processors: Vec<Vec<(String, String)>> = Vec::new();
        for line in text.lines() {
            let Some((name, value)) = line.split_once(':') else { continue };
            let (name, value) = (name.trim().to_owned(), value.trim().to_owned());
            if name == "processor" {
                processors.push(Vec::new());
            }
            if let Some(processor) = processors.last_mut() {
                processor.push((name, value));
            }
        }
        processors
    }

    pub fn memory_bytes(&self) -> Option<u64> {
        let text = self.text("proc/meminfo")?;
        let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        total.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
    }

    /// What says that this is a virtual machine.
    pub fn hypervisor(&self) -> Option<String> {
        let flags = |(name, value): &(String, String)| {
            name == "flags" && value.split_whitespace().any(|flag| flag == "hypervisor")
        };
        if self.processors().iter().flatten().any(flags) {
            return Some("the processor's flag `hypervisor`".into());
        }
        let compatible = self.line("proc/device-tree/compatible")?;
        (compatible == "linux,dummy-virt").then(|| "a device tree of `linux,dummy-virt`".into())
    }

    pub fn moment(&self) -> Moment {
        let core = self.core();
        let set = |core| self.number(&format!("sys/devices/system/cpu/cpu{core}/cpufreq/scaling_cur_freq"));
        let stated = |core: usize| {
            let processors = self.processors();
            let (_, mhz) = processors.get(core)?.iter().find(|(name, _)| name == "cpu MHz")?;
            mhz.parse().ok()
        };
        let mhz = |core| set(core).map(|khz| khz / 1e3).or_else(|| stated(core));
        let zones = (0..32).filter_map(|zone| self.number(&format!("sys/class/thermal/thermal_zone{zone}/temp")));
        let celsius = zones.map(|thousandths| (thousandths / 100.0).round() / 10.0).reduce(f64::max);
        let known = |number: &f64| number.is_finite() && *number > 0.0;
        Moment { core, mhz: core.or(Some(0)).and_then(mhz).filter(known), celsius: celsius.filter(|c| c.is_finite()) }
    }

    /// The core that this thread ran on last: the 39th entry, counted from before the name of the program, which may
    /// hold anything.
    fn core(&self) -> Option<usize> {
        let text = self.text("proc/thread-self/stat")?;
        let (_, after) = text.rsplit_once(')')?;
        after.split_whitespace().nth(36)?.parse().ok()
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A system of files that were made up.
    pub struct Fake {
        pub system: System,
        folder: tempfile::TempDir,
    }

    impl Fake {
        #[cfg(unix)]
        pub fn path(&self, path: &str) -> PathBuf {
            self.folder.path().join(path)
        }
    }

    pub fn fake(files: &[(&str, &str)]) -> Fake {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        Fake { system: System(folder.path().into()), folder }
    }

    #[test]
    fn files_that_say_nothing_are_left_out() {
        let Fake { system, folder: _folder } = fake(&[
            ("proc/device-tree/model", "\0\n"),
            ("proc/cpuinfo", "model name: before any processor\nprocessor: 0\nno colon\n"),
            ("proc/meminfo", "MemTotal: 99999999999999999999 kB\n"),
            ("proc/thread-self/stat", "1 (x) R 1 2 3\n"),
            ("sys/class/thermal/thermal_zone0/temp", "hot\n"),
        ]);
        assert_eq!(
            (system.line("proc/device-tree/model"), system.memory_bytes(), system.hypervisor()),
            (None, None, None)
        );
        assert_eq!(system.processors(), [[("processor".to_owned(), "0".to_owned())]]);
        assert_eq!(system.moment(), Moment::default());
    }
}
