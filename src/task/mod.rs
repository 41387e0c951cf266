#![allow(missing_docs)]
use std::{sync::Arc, time::Duration};
use serde_json::Value;
use crate::{config, domain::{BootTime, ClientId, ErrorKind, Error, Lane, RequestId}};
#[derive(Default)]
pub struct Tasks;
impl Tasks {
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Task>> { [].iter() }
    pub fn get(&self, _n: &str) -> Option<&Arc<Task>> { None }
    pub fn filters(&self) -> Vec<String> { Vec::new() }
    pub fn matching<'a>(&'a self, _t: &str) -> impl Iterator<Item = &'a Arc<Task>> { [].iter() }
}
pub struct Task(config::Task);
pub struct Rendered { pub body: Value, pub result_topic: String, pub error_topic: String, pub lane: Lane, pub deadline: Option<Duration>, pub supersedes: Option<String> }
#[derive(Debug)]
pub struct TaskError;
impl TaskError { pub fn reason(&self) -> String { String::new() } pub fn kind(&self) -> ErrorKind { ErrorKind::InvalidRequest } }
impl Task {
    pub fn name(&self) -> &str { "" }
    pub fn topics(&self) -> Vec<String> { vec![] }
    pub fn client(&self) -> ClientId { ClientId::of_user(0) }
    pub fn options(&self) -> &config::Task { &self.0 }
    pub fn render(&self, _t: &str, _p: &[u8]) -> Result<Rendered, TaskError> { Err(TaskError) }
    pub fn check(&self, _a: &str) -> Result<Value, TaskError> { Err(TaskError) }
    pub fn retry_body(&self, b: &Value, _a: &str, _e: &TaskError) -> Value { b.clone() }
    pub fn error_topic(&self, _t: &str) -> String { String::new() }
    pub fn error_payload(&self, _t: &str, _e: &Error, _id: Option<&RequestId>) -> Value { Value::Null }
}
#[derive(Default)]
pub struct Gate;
pub struct Held { pub task: String, pub topic: String, pub payload: Vec<u8> }
pub enum Decision { Run, Later { at: BootTime }, Skip(Skipped) }
pub struct Skipped;
impl Skipped { pub fn name(&self) -> &'static str { "" } }
impl Gate {
    pub fn decide(&mut self, _t: &Task, _topic: &str, _p: &[u8], _now: BootTime) -> Decision { Decision::Run }
    pub fn due(&mut self, _now: BootTime) -> Vec<Held> { vec![] }
    pub fn next_due(&self) -> Option<BootTime> { None }
}
