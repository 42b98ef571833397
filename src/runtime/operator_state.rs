//! What of a checkpoint's operator state goes to which subtask of the graph that goes on with it.
//!
//! Owns the check that checkpoint and graph have the same operators. How the elements of one are handed out
//! is `checkpoint::assign`'s; whether its states are the same ones the subtask sees when it takes them over.

use crate::checkpoint::{SavedOperator, assign};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::Name;
use crate::state::unkeyed::SavedState;
use crate::task::JobGraph;

/// For each operator that has operator state, its index and what each subtask begins with.
///
/// # Errors
/// [`ErrorKind::Corrupt`] where the checkpoint has nothing of an operator, [`ErrorKind::Graph`] where the
/// graph has not: another program.
pub(super) fn shares(
    graph: &JobGraph,
    saved: &[SavedOperator],
    parallelism: u32,
) -> Result<Vec<(usize, Vec<Vec<SavedState>>)>> {
    let with_state = || graph.vertices.iter().filter(|v| !v.operator_states().is_empty());
    let id = |index: usize| &graph.operators[index];
    let is_known = |operator: &Name| with_state().any(|v| id(v.operator()) == operator);
    if let Some(former) = saved.iter().find(|saved| !is_known(&saved.operator)) {
        let former = &former.operator;
        let message = format!("the checkpoint has operator state of {former}, the program has not");
        return Err(Error::new(ErrorKind::Graph, message));
    }
    let of_vertex = |index: usize| {
        let saved = saved.iter().find(|saved| saved.operator == *id(index)).ok_or_else(|| {
            let message = format!("the checkpoint has no operator state of {}", id(index));
            Error::new(ErrorKind::Corrupt, message)
        })?;
        Ok((index, assign::operator_state(saved, parallelism)))
    };
    with_state().map(|vertex| of_vertex(vertex.operator())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connector::{MemorySink, MemorySource};
    use crate::operator::{OperatorContext, OperatorProcess};
    use crate::state::{OperatorListDescriptor, OperatorStates};
    use crate::stream::StreamEnvironment;

    struct Nothing;

    impl OperatorProcess for Nothing {
        type In = u64;
        type Out = u64;

        fn process(&self, _: u64, _: &mut OperatorContext<'_, Self>) -> Result<()> {
            Ok(())
        }
    }

    fn graph() -> JobGraph {
        let env = StreamEnvironment::new();
        env.source(MemorySource::new(vec![1], 1))
            .process(|states: &mut OperatorStates| {
                let _ = states.list::<u64>(OperatorListDescriptor::new("buffer"));
                Nothing
            })
            .uid("op")
            .sink(MemorySink::new());
        env.build().unwrap()
    }

    fn saved(operators: &[&str]) -> Vec<SavedOperator> {
        let saved = |operator: &&str| SavedOperator {
            operator: Name::new(operator).unwrap(),
            subtasks: vec![Vec::new(); 2],
        };
        operators.iter().map(saved).collect()
    }

    #[test]
    fn an_operator_that_is_missing_on_either_side_is_an_error_that_names_it() {
        let shares = |operators: &[&str]| shares(&graph(), &saved(operators), 3);
        let found = shares(&["op"]).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].1.len(), 3);
        let error = shares(&["op", "former"]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Graph);
        assert!(error.message().contains("of former, the program has not"), "{error}");
        let error = shares(&[]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.message().contains("no operator state of op"), "{error}");
    }
}
