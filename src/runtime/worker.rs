//! One worker: builds subtask *i* of every vertex on its own thread and drives them until told to stop.
//!
//! A failure of any task, a panic of user code included, is reported once and fails the attempt.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::crew::{Doing, Told};
use crate::checkpoint::{Command, Report};
use crate::error::Result;
use crate::io::{call_user, user_panic};
use crate::task::{BuildContext, JobGraph};

/// Builds and drives all tasks of one worker.
pub(super) async fn run(
    graph: Arc<JobGraph>,
    context: BuildContext,
    commands: Vec<mpsc::UnboundedReceiver<Command>>,
    doing: Doing,
) {
    let reports = context.reports.clone();
    let mut tasks = match build(&graph, context, commands, &doing) {
        Ok(tasks) => tasks,
        Err(error) => {
            // The coordinator may have ended first, with an error of its own.
            drop(reports.send(Report::Failed(error)).await);
            return;
        }
    };
    while let Some(ended) = tasks.join_next().await {
        if let Ok(Err(error)) = ended {
            drop(reports.send(Report::Failed(error)).await);
            return;
        }
    }
}

fn build(
    graph: &JobGraph,
    mut context: BuildContext,
    commands: Vec<mpsc::UnboundedReceiver<Command>>,
    doing: &Doing,
) -> Result<JoinSet<Result<()>>> {
    let mut tasks = JoinSet::new();
    for (index, (vertex, commands)) in graph.vertices.iter().zip(commands).enumerate() {
        context.vertex = index;
        context.commands = Some(commands);
        let place =
            format!("operator {} subtask {}", context.operator(vertex.operator()), context.subtask);
        let build = || vertex.build(&mut context);
        let built = doing.while_at(index, || call_user(build));
        let task = built.map_err(|e| e.at(place.clone()))?;
        tasks.spawn_local(caught(Told::new(task, index, doing.clone()), place));
    }
    Ok(tasks)
}

async fn caught(task: Told, place: String) -> Result<()> {
    let result = AssertUnwindSafe(task).catch_unwind().await;
    result.unwrap_or_else(|panic| Err(user_panic(panic.as_ref()))).map_err(|e| e.at(place))
}
