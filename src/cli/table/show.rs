//! What is said about a table, as text. Pure.

use crate::dynamodb::{Difference, Plan, Remedy};

/// What `apply` would do.
pub(super) fn plan(plan: &Plan) -> String {
    if !plan.exists {
        let lines = plan.differences.iter().map(|d| format!("  + {}: {}", d.property, d.wanted));
        return whole(format!("{} would be made:", plan.table), lines.collect(), plan);
    }
    if !plan.is_usable() {
        return whole(not_ours(plan), all(plan), plan);
    }
    let head = match (plan.has_changes(), plan.managed) {
        (true, true) => format!("{} would be changed:", plan.table),
        (true, false) => format!(
            "{} differs, and is left as it is: state.backend.dynamodb.table.manage is false",
            plan.table
        ),
        (false, _) => fits(plan),
    };
    whole(head, all(plan), plan)
}

/// Whether the table fits.
pub(super) fn check(plan: &Plan) -> String {
    let head = if !plan.exists {
        return format!("{} is not there; `millpond table apply` or a run makes it", plan.table);
    } else if !plan.is_usable() {
        not_ours(plan)
    } else if plan.differences.is_empty() {
        fits(plan)
    } else {
        format!("{} differs from the configuration:", plan.table)
    };
    whole(head, all(plan), plan)
}

/// What `apply` has done.
pub(super) fn applied(before: &Plan, after: &Plan) -> String {
    let done = before.differences.iter().filter(|d| !after.differences.contains(d));
    let lines = done.map(|d| format!("  {}: {} -> {}", d.property, d.found, d.wanted));
    let mut lines: Vec<_> = lines.collect();
    let head = match (before.exists, lines.is_empty()) {
        (false, _) => format!("{} is made:", after.table),
        (true, false) => format!("{} is changed:", after.table),
        (true, true) => fits(after),
    };
    lines.extend(after.differences.iter().map(|d| format!("  still {}", line(d))));
    whole(head, lines, after)
}

fn fits(plan: &Plan) -> String {
    let but = if plan.differences.is_empty() { "" } else { ", as far as it can be changed" };
    format!("{} is as configured{but}", plan.table)
}

fn not_ours(plan: &Plan) -> String {
    format!(
        "{} was not made by Millpond and is never changed; set state.backend.dynamodb.table to another \
         name:",
        plan.table
    )
}

fn all(plan: &Plan) -> Vec<String> {
    plan.differences.iter().map(|d| format!("  {}", line(d))).collect()
}

fn line(difference: &Difference) -> String {
    let Difference { property, found, wanted, remedy } = difference;
    let by_hand = if *remedy == Remedy::ByHand { " (only by hand)" } else { "" };
    format!("{property}: {found}; configured: {wanted}{by_hand}")
}

fn whole(head: String, lines: Vec<String>, plan: &Plan) -> String {
    let unknown = plan.unknown.iter().map(|unknown| format!("  not known: {unknown}"));
    std::iter::once(head).chain(lines).chain(unknown).collect::<Vec<_>>().join("\n")
}
