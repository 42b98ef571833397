//! The least IAM policy that a configuration needs.
//!
//! Owns the list of actions, by what needs them.

use serde_json::{Value, json};

use crate::config::{Location, StoreSettings};

/// What jobs do all the time. Statements need the PartiQL actions, and those of the items are checked
/// by `UpdateItem` and `PutItem` for all else.
const RUN: [&str; 10] = [
    "dynamodb:BatchGetItem",
    "dynamodb:BatchWriteItem",
    "dynamodb:DescribeTable",
    "dynamodb:DescribeTimeToLive",
    "dynamodb:GetItem",
    "dynamodb:PartiQLInsert",
    "dynamodb:PartiQLUpdate",
    "dynamodb:PutItem",
    "dynamodb:Query",
    "dynamodb:UpdateItem",
];
/// What makes a table.
const CREATE: [&str; 2] = ["dynamodb:CreateTable", "dynamodb:UpdateTimeToLive"];
/// What changes one.
const MANAGE: [&str; 2] = ["dynamodb:UpdateTable", "dynamodb:UpdateTimeToLive"];
const TAGS: [&str; 2] = ["dynamodb:ListTagsOfResource", "dynamodb:TagResource"];
const RECOVERY: [&str; 2] =
    ["dynamodb:DescribeContinuousBackups", "dynamodb:UpdateContinuousBackups"];

/// The least IAM policy for jobs on the table of `settings`: what they do all the time; what makes the
/// table where it is missing; and, where they say `table.manage`, what changes and deletes it. `*` stands
/// for the account.
#[must_use]
pub fn policy(settings: &StoreSettings) -> Value {
    let region = match &settings.location {
        Location::Remote { region: Some(region), .. } => region.as_str(),
        _ => "*",
    };
    // China and GovCloud have partitions of their own.
    let partition = match region {
        china if china.starts_with("cn-") => "aws-cn",
        government if government.starts_with("us-gov-") => "aws-us-gov",
        _ => "aws",
    };
    let table = format!("arn:{partition}:dynamodb:{region}:*:table/{}", settings.table);
    let statement = |sid: &str, mut actions: Vec<&str>| {
        actions.sort_unstable();
        actions.dedup();
        json!({ "Sid": sid, "Effect": "Allow", "Action": actions, "Resource": table })
    };
    let mut setup = CREATE.to_vec();
    if !settings.tags.is_empty() {
        setup.extend(TAGS);
    }
    if settings.point_in_time_recovery.is_some() {
        setup.extend(RECOVERY);
    }
    let mut statements =
        vec![statement("MillpondRun", RUN.to_vec()), statement("MillpondCreate", setup)];
    if settings.manage {
        statements.push(statement("MillpondManage", MANAGE.to_vec()));
        statements.push(statement("MillpondDestroy", vec!["dynamodb:DeleteTable"]));
    }
    json!({ "Version": "2012-10-17", "Statement": statements })
}
