//! What of a checkpoint's operator state goes to which subtask of the graph that goes on with it.
//!
//! Owns the checks that the graph has all operators of the checkpoint, and that these can read what was saved. How
//! the elements of one are handed out is `checkpoint::assign`'s; whether its states are the same ones the subtask
//! sees when it takes them over.

use crate::checkpoint::{Manifest, SavedOperator, assign};
use crate::error::{Error, ErrorKind, Result};
use crate::state::unkeyed::{OperatorFormat, RestoredState, SavedState};
use crate::task::{JobGraph, Vertex};

/// Whether the program has all operator states that `manifest` has, each of its kind.
///
/// # Errors
/// [`ErrorKind::Graph`] that names what is gone.
pub(super) fn check(graph: &JobGraph, manifest: &Manifest) -> Result<()> {
    for saved in &manifest.operator_states {
        let declared = vertex_of(graph, saved)?.operator_states();
        let is_gone = |saved: &&SavedState| {
            !declared.iter().any(|d| (&d.name, d.kind) == (&saved.state, saved.kind))
        };
        if let Some(gone) = saved.subtasks.iter().flatten().find(is_gone) {
            let what = format!("{} {} of {}", gone.kind, gone.state, saved.operator);
            return Err(gone_from_program(&what));
        }
    }
    Ok(())
}

/// For each operator of which `manifest` has operator state, its index and what each subtask begins with. An
/// operator that it has not begins with empty states.
///
/// # Errors
/// [`ErrorKind::Graph`] where it has operator state of one that the graph has not: another program.
pub(super) fn shares(
    graph: &JobGraph,
    manifest: &Manifest,
    parallelism: u32,
) -> Result<Vec<(usize, Vec<Vec<RestoredState>>)>> {
    let of_saved = |saved: &SavedOperator| {
        let (id, vertex) = (&saved.operator, vertex_of(graph, saved)?);
        let restored = |saved: SavedState| {
            let format = manifest.operator_formats.iter().find(|f| f.is_of(id, &saved.state));
            RestoredState { saved, encoding: format.map(|format| format.encoding.clone()) }
        };
        let shares = assign::operator_state(saved, parallelism).into_iter();
        let shares = shares.map(|share| share.into_iter().map(restored).collect()).collect();
        Ok((vertex.operator(), shares))
    };
    manifest.operator_states.iter().map(of_saved).collect()
}

fn vertex_of<'g>(graph: &'g JobGraph, saved: &SavedOperator) -> Result<&'g dyn Vertex> {
    let mut with_state = graph.vertices.iter().filter(|v| !v.operator_states().is_empty());
    let vertex = with_state.find(|v| graph.operators[v.operator()] == saved.operator);
    vertex
        .map(|vertex| &**vertex)
        .ok_or_else(|| gone_from_program(&format!("operator state of {}", saved.operator)))
}

/// The checkpoint has what is not there in the program. Most often the head's record of the graph has shown that
/// before; not where the job goes back to an older checkpoint.
pub(super) fn gone_from_program(what: &str) -> Error {
    let message = format!(
        "the checkpoint has {what}, the program has not; declare it as it was, or begin afresh with --fresh"
    );
    Error::new(ErrorKind::Graph, message)
}

/// Of which types the operator states of `graph` are, for the manifests to come. What `manifest` has of one must be
/// of that type, where it says; one that holds nothing may become of any.
///
/// # Errors
/// [`ErrorKind::Graph`] that names both types and what to do.
pub(super) fn formats(
    graph: &JobGraph,
    manifest: Option<&Manifest>,
) -> Result<Vec<OperatorFormat>> {
    let mut formats = Vec::new();
    for vertex in &graph.vertices {
        let operator = &graph.operators[vertex.operator()];
        for declared in vertex.operator_states() {
            let format = OperatorFormat::of(operator, declared);
            let recorded = manifest.and_then(|manifest| recorded(manifest, &format));
            recorded.map_or(Ok(()), |recorded| recorded.check(declared))?;
            formats.push(format);
        }
    }
    Ok(formats)
}

/// The type of what `manifest` has of a state, where it has something and says so.
fn recorded<'m>(manifest: &'m Manifest, of: &OperatorFormat) -> Option<&'m OperatorFormat> {
    let mut saved = manifest.operator_states.iter().filter(|saved| saved.operator == of.operator);
    let holds = |saved: &SavedOperator| {
        saved.subtasks.iter().flatten().any(|saved| saved.state == of.state)
    };
    let mut known = manifest.operator_formats.iter();
    if saved.any(holds) { known.find(|known| known.is_of(&of.operator, &of.state)) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::Manifest;
    use crate::connector::{MemorySink, MemorySource};
    use crate::ids::{Name, Version};
    use crate::operator::{OperatorContext, OperatorProcess};
    use crate::state::unkeyed::{Elements, OperatorStateKind};
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
    fn an_operator_that_the_program_lacks_is_an_error_and_one_that_is_new_begins_empty() {
        let empty = Manifest::empty(Version::from_number(1_000_000_000_007));
        let shares = |operators: &[&str]| {
            let manifest = Manifest { operator_states: saved(operators), ..empty.clone() };
            shares(&graph(), &manifest, 3)
        };
        let found = shares(&["op"]).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].1.len(), 3);
        let error = shares(&["op", "former"]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Graph);
        assert!(error.message().contains("of former, the program has not"), "{error}");
        assert_eq!(shares(&[]).unwrap(), []);
    }

    /// After a roll-back the recorded graph does not tell: it was found by a worker, after the claim.
    #[test]
    fn a_state_that_the_program_lacks_or_has_of_another_kind_is_an_error_that_names_it() {
        let manifest = manifest(Vec::new());
        check(&graph(), &manifest).unwrap();
        let with = |change: fn(&mut SavedState)| {
            let mut manifest = manifest.clone();
            change(&mut manifest.operator_states[0].subtasks[1][0]);
            check(&graph(), &manifest).unwrap_err().to_string()
        };
        let error = with(|saved| saved.state = Name::new("former").unwrap());
        assert!(error.contains("has list former of op, the program has not"), "{error}");
        let error = with(|saved| saved.kind = OperatorStateKind::Union);
        assert!(error.contains("has union list buffer of op"), "{error}");
        let without = Manifest { operator_states: saved(&["op", "former"]), ..manifest.clone() };
        let error = check(&graph(), &without).unwrap_err().to_string();
        assert!(error.contains("operator state of former"), "{error}");
    }

    #[test]
    fn what_is_handed_out_says_in_which_encoding_it_is() {
        let mut formats = formats(&graph(), None).unwrap();
        formats[0].encoding.schema = "u32".to_owned();
        let shares = shares(&graph(), &manifest(formats), 1).unwrap();
        let encoding = shares[0].1[0][0].encoding.as_ref();
        assert_eq!(encoding.map(ToString::to_string).as_deref(), Some("u32 in bincode 1"));
    }

    /// A checkpoint in which the list has an element, of the type of `formats`.
    fn manifest(formats: Vec<OperatorFormat>) -> Manifest {
        let mut elements = Elements::default();
        elements.extend([&b"\x01"[..]]);
        let mut operator_states = saved(&["op"]);
        let state = Name::new("buffer").unwrap();
        let list = SavedState { state, kind: OperatorStateKind::List, elements };
        operator_states[0].subtasks[1].push(list);
        Manifest {
            operator_states,
            operator_formats: formats,
            ..Manifest::empty(Version::from_number(1_000_000_000_007))
        }
    }

    #[test]
    fn a_type_that_was_recorded_is_compared_and_one_that_was_not_is_taken_on_trust() {
        let of_graph = formats(&graph(), None).unwrap();
        assert_eq!(of_graph.len(), 1);
        assert_eq!(of_graph[0].encoding.to_string(), "u64 in bincode 1");
        let of = |recorded| formats(&graph(), Some(&manifest(recorded)));
        assert_eq!(of(of_graph.clone()).unwrap(), of_graph);
        assert_eq!(of(vec![]).unwrap(), of_graph, "unknown");

        let mut other = of_graph.clone();
        other[0].encoding.schema = "u32".to_owned();
        other[0].encoding.fingerprint += 1;
        let error = of(other.clone()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Graph);
        assert!(error.message().contains("values of u32 in bincode 1"), "{error}");
        // Of an operator or state of another name it says nothing, and nothing of what was empty.
        other[0].operator = Name::new("former").unwrap();
        assert!(of(other.clone()).is_ok());
        other[0].operator = of_graph[0].operator.clone();
        let emptied = Manifest { operator_states: saved(&["op"]), ..manifest(other) };
        assert_eq!(formats(&graph(), Some(&emptied)).unwrap(), of_graph);
    }
}
