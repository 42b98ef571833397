//! The chain over the real file sink, in a folder of its own: output that is staged, renamed and cleaned
//! away, by processes that die between any two of these, meet there, and wake after they were overtaken.
//! What blocks is done as a whole here: processes that are killed for real die in the midst of it.
//!
//! Owns the folder, and reads it with eyes of its own. Every file and folder is synced as in a real
//! run, so few seeds draw this graph.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use futures::future::{BoxFuture, LocalBoxFuture};
use rand::rngs::StdRng;
use tempfile::TempDir;

use super::Kind;
use super::chain::{Line, Links};
use crate::connector::{
    CommitOutcome, Committable, Committer, FileSink, Guarantee, OwedFile, RunIdentity, Sink,
    Writer, WriterContext,
};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{Attempt, CheckpointId, Name};
use crate::simulation::ends::{CommitOf, Ends, Inlet, Outlet};
use crate::simulation::scenario::{Positions, Scenario, StateView, Verdict};
use crate::task::JobGraph;

pub(super) const KIND: Kind = Kind {
    name: "files",
    share: 4,
    draw: |random: &mut StdRng, mishap| {
        let links = Links::draw(random, mishap);
        Arc::new(Files { links, folder: Folder::new(), hesitates: Arc::default() })
    },
};

struct Files {
    links: Links,
    folder: Folder,
    hesitates: Arc<AtomicU32>,
}

impl Scenario for Files {
    fn name(&self) -> &'static str {
        KIND.name
    }

    fn graph(&self) -> Result<JobGraph> {
        let root = self.folder.root()?;
        // A process has a sink of its own.
        let files: Arc<dyn Sink<Line>> = Arc::new(FileSink::json_lines(&root));
        self.links.graph(Portable { files, root, hesitates: Arc::clone(&self.hesitates) })
    }

    fn ends(&self) -> &dyn Ends {
        self
    }

    fn check_output(&self, commits: &[usize], positions: &Positions) -> Verdict {
        let published = self.folder.published();
        let mut lines = Vec::new();
        for commit in commits {
            lines.extend(self.folder.read(&published[*commit].name)?);
        }
        self.links.check_lines(&lines.iter().collect::<Vec<_>>(), positions)
    }

    fn check_state(&self, state: &StateView<'_>) -> Verdict {
        self.links.check_state(state)
    }
}

impl Ends for Files {
    fn inlets(&self) -> Vec<(&str, &dyn Inlet)> {
        vec![self.links.inlet()]
    }

    fn outlets(&self) -> Vec<&dyn Outlet> {
        vec![self]
    }
}

impl Outlet for Files {
    fn commits(&self) -> Vec<CommitOf> {
        let published = self.folder.published();
        published.iter().map(|p| (Attempt(p.attempt), CheckpointId(p.checkpoint))).collect()
    }

    fn staged(&self) -> usize {
        self.folder.names(".staging").len()
    }

    fn hesitate(&self, calls: u32) {
        self.hesitates.store(calls, Ordering::Relaxed);
    }
}

/// The output folder; gone with the run.
struct Folder(std::io::Result<TempDir>);

/// A file that is there for all to see. In the order in which one line of descent gives them out.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Published {
    attempt: u64,
    checkpoint: u64,
    subtask: u32,
    name: String,
}

impl Published {
    fn parse(name: String) -> Option<Self> {
        let numbers = name.strip_prefix("part-")?.strip_suffix(".jsonl")?;
        let mut numbers = numbers.rsplit('-');
        let subtask = numbers.next()?.parse().ok()?;
        let attempt = numbers.next()?.parse().ok()?;
        let checkpoint = numbers.next()?.parse().ok()?;
        Some(Self { attempt, checkpoint, subtask, name })
    }
}

impl Folder {
    /// In memory where there is such a folder: a sync costs next to nothing there.
    fn new() -> Self {
        let memory = Path::new("/dev/shm");
        let place = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        Self(tempfile::Builder::new().prefix("millpond-").tempdir_in(place))
    }

    fn root(&self) -> Result<PathBuf> {
        match &self.0 {
            Ok(folder) => Ok(folder.path().join("out")),
            Err(e) => {
                Err(Error::new(ErrorKind::Io, format!("no folder for the simulation's files: {e}")))
            }
        }
    }

    /// The files of a folder in it, in their order; of those that are hidden none.
    fn names(&self, inner: &str) -> Vec<String> {
        let Ok(root) = self.root() else { return Vec::new() };
        let Ok(entries) = std::fs::read_dir(root.join(inner)) else { return Vec::new() };
        let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
        let mut names: Vec<String> = names.filter(|name| !name.starts_with('.')).collect();
        names.sort_unstable();
        names
    }

    fn published(&self) -> Vec<Published> {
        let mut published: Vec<_> =
            self.names("").into_iter().filter_map(Published::parse).collect();
        published.sort_unstable();
        published
    }

    fn read(&self, name: &str) -> std::result::Result<Vec<Line>, String> {
        let path = self.root().map_err(|e| e.to_string())?.join(name);
        let text = std::fs::read_to_string(path).map_err(|e| format!("{name}: {e}"))?;
        let parse = |line| serde_json::from_str(line).map_err(|e| format!("{name}: {line:?}: {e}"));
        text.lines().map(parse).collect()
    }
}

/// A file sink of which manifests and errors do not say where its folder is, so that a seed is the same
/// run in any folder; and which hesitates.
#[derive(Clone, Debug)]
struct Portable {
    files: Arc<dyn Sink<Line>>,
    root: PathBuf,
    hesitates: Arc<AtomicU32>,
}

impl Portable {
    fn told<T>(&self, result: Result<T>) -> Result<T> {
        let root = self.root.display().to_string();
        result.map_err(|e| Error::new(e.kind(), e.to_string().replace(&root, "out")))
    }

    fn found(&self, names: &[Committable]) -> Result<Vec<Committable>> {
        let found = |name: &Committable| {
            OwedFile::encode(&self.root, String::from_utf8_lossy(&name.0).into_owned())
        };
        names.iter().map(found).collect()
    }
}

impl Sink<Line> for Portable {
    fn describe(&self) -> String {
        "files".to_owned()
    }

    fn guarantee(&self) -> Guarantee {
        self.files.guarantee()
    }

    fn check(&self, run: &RunIdentity) -> Result<()> {
        self.told(self.files.check(run))
    }

    fn prepare(&self, run: &RunIdentity) -> Result<()> {
        self.told(self.files.prepare(run))
    }

    fn writer(&self, context: WriterContext) -> Result<Box<dyn Writer<Line>>> {
        let files = self.told(self.files.writer(context))?;
        Ok(Box::new(PortableWriter { files, sink: self.clone() }))
    }

    fn committer(&self, operator: &Name) -> Option<Box<dyn Committer>> {
        let files = self.files.committer(operator)?;
        Some(Box::new(PortableCommitter { files, sink: self.clone() }))
    }
}

struct PortableWriter {
    files: Box<dyn Writer<Line>>,
    sink: Portable,
}

impl Writer<Line> for PortableWriter {
    fn write(&mut self, batch: &mut Vec<Line>) -> Result<()> {
        self.sink.told(self.files.write(batch))
    }

    fn ready(&mut self) -> LocalBoxFuture<'_, Result<()>> {
        let sink = self.sink.clone();
        let ready = self.files.ready();
        Box::pin(async move { sink.told(ready.await) })
    }

    fn snapshot(
        &mut self,
        checkpoint: CheckpointId,
    ) -> BoxFuture<'static, Result<Vec<Committable>>> {
        let (sink, staged) = (self.sink.clone(), self.files.snapshot(checkpoint));
        Box::pin(async move {
            let staged = sink.told(staged.await)?;
            let name = |owed| Ok(Committable(OwedFile::decode(owed)?.name.into_bytes()));
            staged.iter().map(name).collect()
        })
    }
}

#[derive(Debug)]
struct PortableCommitter {
    files: Box<dyn Committer>,
    sink: Portable,
}

impl Committer for PortableCommitter {
    fn commit(&self, committables: &[Committable]) -> Result<Vec<CommitOutcome>> {
        let hesitates = &self.sink.hesitates;
        let fewer = |left: u32| left.checked_sub(1);
        if hesitates.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fewer).is_ok() {
            let later = || CommitOutcome::Retry("it hesitates".to_owned());
            return Ok(committables.iter().map(|_| later()).collect());
        }
        let outcomes = self.sink.told(self.files.commit(&self.sink.found(committables)?))?;
        let told = |outcome| match outcome {
            CommitOutcome::Lost(what) => {
                CommitOutcome::Lost(what.replace(&self.sink.root.display().to_string(), "out"))
            }
            other => other,
        };
        Ok(outcomes.into_iter().map(told).collect())
    }

    fn clean(&self, attempt: Attempt, named: &[Committable]) -> Result<()> {
        self.sink.told(self.files.clean(attempt, &self.sink.found(named)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_files_are_told_from_others_and_come_in_order() {
        let folder = Folder::new();
        let root = folder.root().unwrap();
        std::fs::create_dir_all(root.join(".staging")).unwrap();
        let file = |name: &&str| std::fs::write(root.join(name), "").unwrap();
        ["part-a-10-2-0.jsonl", "part-a-9-2-1.jsonl", "part-a-20-1-0.jsonl"].iter().for_each(file);
        let others = ["notes.txt", ".staging/part-a-11-2-0.jsonl", ".staging/open-a-1-2-0.jsonl"];
        others.iter().for_each(file);
        let published = folder.published();
        let order: Vec<_> = published.iter().map(|p| (p.attempt, p.checkpoint)).collect();
        assert_eq!(order, [(1, 20), (2, 9), (2, 10)]);
        assert_eq!(folder.names(".staging").len(), 2);
    }
}
