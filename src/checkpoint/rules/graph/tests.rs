//! Which changes of a graph a job's state bears.

use super::{bound_to, differences, inputs_of, name_of, states_in};

const GRAPH: &str = "\
source visits -> map
source limits
union union-1 (derived) <- visits
process count [total, last] -> filter <- union-1
broadcast-process watch [seen] {limits: broadcast map} <- count, limits
process pack {waiting: list} <- watch
process show {} <- pack
sink out <- show
sink audit <- count
";

fn going_on(given: &str) -> Vec<String> {
    differences(GRAPH, given, false)
}

/// The graph with this replaced, and what is said of that.
fn with(old: &str, new: &str) -> Vec<String> {
    let given = GRAPH.replace(old, new);
    assert_ne!(given, GRAPH, "{old}");
    going_on(&given)
}

#[test]
fn the_same_graph_goes_on_in_any_order_of_its_lines_and_states() {
    assert_eq!(going_on(GRAPH), [""; 0]);
    let turned: Vec<&str> = GRAPH.lines().rev().collect();
    assert_eq!(going_on(&turned.join("\n")), [""; 0]);
    assert_eq!(with("[total, last]", "[last, total]"), [""; 0]);
}

#[test]
fn functions_without_state_come_and_go() {
    assert_eq!(with(" -> map", ""), [""; 0]);
    assert_eq!(with(" -> filter", " -> map -> flat_map"), [""; 0]);
    let short = GRAPH.replace("union union-1 (derived) <- visits\n", "");
    assert_eq!(going_on(&short.replace("<- union-1", "<- visits")), [""; 0]);
    let short = GRAPH.replace("process show {} <- pack\n", "");
    assert_eq!(going_on(&short.replace("<- show", "<- pack")), [""; 0]);
}

#[test]
fn states_operators_sources_and_sinks_may_be_added() {
    assert_eq!(with("[total, last]", "[first, total, last]"), [""; 0]);
    assert_eq!(with("{waiting: list}", "{waiting: list, count: union list}"), [""; 0]);
    assert_eq!(going_on(&format!("{GRAPH}sink copy <- show\n")), [""; 0]);
    // In between, too, with state of its own.
    let between = "process dedup [seen] <- union-1\nprocess count [total, last] -> filter <- dedup";
    assert_eq!(with("process count [total, last] -> filter <- union-1", between), [""; 0]);
    let two = "source late\nunion union-1 (derived) <- visits, late";
    assert_eq!(with("union union-1 (derived) <- visits", two), [""; 0]);
    // A keyed operator gets a broadcast input, or another kind of function.
    let connected =
        "broadcast-process count [total, last] {rules: broadcast map} <- union-1, limits";
    assert_eq!(with("process count [total, last] -> filter <- union-1", connected), [""; 0]);
}

#[test]
fn what_is_gone_is_named() {
    assert_eq!(with("sink audit <- count\n", ""), ["sink audit is gone"]);
    assert_eq!(with("[total, last]", "[total]"), ["operator count: state last is gone"]);
    assert_eq!(with("{waiting: list}", "{other: list}"), ["operator pack: list waiting is gone"]);
    assert_eq!(with("{waiting: list}", "{}"), ["process pack is gone"]);
    assert_eq!(
        with("{waiting: list}", "{waiting: union list}"),
        ["operator pack: state waiting was a list, and is a union list"]
    );
    assert_eq!(
        with("process pack {waiting", "process pack [x] {waiting"),
        ["pack was an operator without keys, and is a keyed operator"]
    );
    let without = GRAPH.replace("source limits\n", "").replace("<- count, limits", "<- count");
    assert_eq!(going_on(&without), ["source limits is gone"]);
    let renamed = GRAPH.replace("count", "counts");
    assert_eq!(going_on(&renamed), ["process count is gone"]);
}

/// The same operators in another wiring used to go on, each with the other's state.
#[test]
fn an_operator_must_still_read_what_it_read() {
    let swapped = with("<- count, limits", "<- limits, count");
    assert_eq!(swapped.len(), 2 + 1, "{swapped:?}");
    assert!(swapped.iter().any(|s| s.starts_with("operator watch does not read limits")));
    let moved = with("sink audit <- count", "sink audit <- visits");
    assert_eq!(
        moved,
        ["operator audit does not read count any more, neither directly nor through others"]
    );
}

/// A reduce that is put before another one would take its state.
#[test]
fn a_derived_id_is_believed_only_while_there_are_as_many_of_its_kind() {
    let one = "source a\nreduce reduce-1 [reduce] (derived) <- a\nsink out <- reduce-1\n";
    assert_eq!(differences(one, one, false), [""; 0]);
    let two = "source a\nreduce reduce-1 [reduce] (derived) <- a\nreduce reduce-2 [reduce] (derived) <- a\n\
               sink out <- reduce-2\nsink new <- reduce-1\n";
    let found = differences(one, two, false);
    assert!(found.iter().any(|s| s.contains("of which there were 1 and are 2")), "{found:?}");
    assert!(found.iter().any(|s| s.contains(r#".uid("reduce-1")"#)), "{found:?}");
    // With ids: the former one is called what it was called.
    let named = "source a\nreduce new [reduce] <- a\nreduce reduce-1 [reduce] <- a\n\
                 sink out <- reduce-1\nsink copy <- new\n";
    assert_eq!(differences(one, named, false), [""; 0]);
    // What earlier versions have recorded says nothing of where ids come from, and goes on.
    assert_eq!(differences(&one.replace(" (derived)", ""), one, false), [""; 0]);
    assert!(!differences(&one.replace(" (derived)", ""), two, false).is_empty());
}

/// Those without state counted as others do: where one went and another came, an operator took its neighbour's state.
#[test]
fn a_derived_id_is_believed_only_while_the_same_ones_of_its_kind_have_state() {
    let two = |first: &str, second: &str| {
        format!(
            "source a\nprocess process-1 {first} (derived) <- a\nprocess process-2 {second} (derived) <- process-1\n\
             sink out <- process-2\n"
        )
    };
    let recorded = two("{}", "[count]");
    assert_eq!(differences(&recorded, &recorded, false), [""; 0]);
    // The first is gone, the second is the first now, and another one is behind it.
    let found = differences(&recorded, &two("[count]", "[count]"), false);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("the id process-2 is derived from the order"), "{found:?}");
    assert!(found[0].contains(r#"others have state now than had before: where it is the recorded one, say so by .uid("process-2")"#), "{found:?}");
    // One before it has gone, and one without state has come behind it.
    let found = differences(&two("[count]", "{}"), &two("[count]", "[count]"), false);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("the id process-1 is derived"), "{found:?}");
    // With its id given it is what it was, whoever else has state now.
    let named =
        two("[count]", "[count]").replace("process-2 [count] (derived)", "process-2 [count]");
    assert_eq!(differences(&recorded, &named, false), [""; 0]);
    // A state more is a state of its own.
    assert_eq!(differences(&recorded, &two("{}", "[count, last]"), false), [""; 0]);
}

#[test]
fn what_others_ask_of_a_graph_is_read_from_its_lines() {
    let graph = format!("{GRAPH}dead-letters bad-1 <- visits\n");
    assert_eq!(bound_to(&graph), GRAPH);
    let states: Vec<_> =
        states_in(&graph).iter().map(|(of, state)| format!("{of}.{state}")).collect();
    assert_eq!(states, ["count.total", "count.last", "watch.seen"]);
    let named = |line: &str| (name_of(line).to_owned(), inputs_of(line).join(" and "));
    let of = |name: &str, inputs: &str| (name.to_owned(), inputs.to_owned());
    assert_eq!(named("union u-1 (derived) <- a, b"), of("union u-1", "a and b"));
    assert_eq!(named("source a -> map"), of("source a -> map", ""));
}

#[test]
fn a_graph_that_was_recorded_without_its_wiring_is_compared_without() {
    let without: String =
        GRAPH.lines().map(|line| format!("{}\n", line.split(" <- ").next().unwrap())).collect();
    assert_eq!(differences(&without, GRAPH, false), [""; 0]);
    let swapped = GRAPH.replace("<- count, limits", "<- limits, count");
    assert_eq!(differences(&without, &swapped, false), [""; 0]);
    assert_eq!(differences(&without, &GRAPH.replace("sink audit", "sink other"), false).len(), 1);
}

/// What the older checkpoint has, the newer graph does not tell.
#[test]
fn after_a_roll_back_the_graph_tells_nothing_of_what_is_gone() {
    let former = GRAPH.replace("[total, last]", "[total]").replace("sink audit <- count\n", "");
    assert_eq!(differences(GRAPH, &former, true), [""; 0]);
    let moved = GRAPH.replace("sink audit <- count", "sink audit <- visits");
    assert_eq!(differences(GRAPH, &moved, true).len(), 1);
}
