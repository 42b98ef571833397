//! Signals, exit codes, events and the server, with an engine that is a few lines.

use std::cell::RefCell;

use futures::stream;

use super::*;
use crate::checkpoint::rules::StartMode;
use crate::runtime::{JobState, Start};

/// What a fake engine does with its channels.
type Act = fn(watch::Sender<JobStatus>, watch::Receiver<Stop>) -> Playing;
type Playing = Pin<Box<dyn Future<Output = Result<Ended>>>>;

struct Fake {
    act: Act,
    asked: RefCell<Option<RunOptions>>,
}

impl Fake {
    fn new(act: Act) -> Self {
        Self { act, asked: RefCell::new(None) }
    }
}

impl Engine for &Fake {
    type Graph = ();

    async fn run(
        self,
        (): (),
        request: RunOptions,
        status: watch::Sender<JobStatus>,
        stop: watch::Receiver<Stop>,
    ) -> Result<Ended> {
        *self.asked.borrow_mut() = Some(request);
        (self.act)(status, stop).await
    }
}

fn finish(status: watch::Sender<JobStatus>, _: watch::Receiver<Stop>) -> Playing {
    Box::pin(async move {
        status.send_modify(|s| {
            s.attempt = 1;
            s.start = Some(Start::Fresh);
            s.state = JobState::Running;
            s.position = 3;
        });
        tokio::task::yield_now().await;
        status.send_modify(|s| s.state = JobState::Finished);
        Ok(Ended::Finished)
    })
}

/// Goes on until it is asked to stop.
fn follow(status: watch::Sender<JobStatus>, mut stop: watch::Receiver<Stop>) -> Playing {
    Box::pin(async move {
        status.send_modify(|s| s.state = JobState::Running);
        drop(stop.wait_for(|stop| *stop == Stop::Gracefully).await);
        status.send_modify(|s| s.state = JobState::Canceled);
        Ok(Ended::Stopped)
    })
}

/// Does not listen.
fn hang(status: watch::Sender<JobStatus>, _: watch::Receiver<Stop>) -> Playing {
    Box::pin(async move {
        status.send_modify(|s| s.state = JobState::Running);
        std::future::pending().await
    })
}

fn fail(_: watch::Sender<JobStatus>, _: watch::Receiver<Stop>) -> Playing {
    Box::pin(async { Err(Error::new(ErrorKind::Fenced, "attempt 2 owns the job")) })
}

/// Runs `act` while `signals` arrive.
async fn play(act: Act, signals: impl Stream<Item = ()>) -> Outcome {
    let clock = Clock::system();
    let (status, watched) = watch::channel(JobStatus::default());
    let (stop, stopped) = watch::channel(Stop::No);
    let bar = Bar::new(false);
    let watcher = Watcher::new(watched, clock, &bar, None);
    accompany(pin!(act(status, stopped)), watcher, None, signals, &stop).await
}

/// `count` signals, a second apart.
fn signals(count: usize) -> impl Stream<Item = ()> {
    let clock = Clock::system();
    stream::unfold(count, move |left| async move {
        clock.sleep(Duration::from_secs(1)).await;
        left.checked_sub(1).map(|left| ((), left))
    })
}

fn exit_of(ended: Outcome) -> Exit {
    match ended {
        Outcome::Ended(result) => result.unwrap_or_else(|error| Exit::of(&error)),
        Outcome::Left => panic!("left"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_that_ends_decides_the_exit_code() {
    assert_eq!(exit_of(play(finish, signals(0)).await), Exit::Done);
    assert_eq!(exit_of(play(fail, signals(0)).await), Exit::Failed);
}

#[tokio::test(start_paused = true)]
async fn the_first_signal_stops_gracefully() {
    assert_eq!(exit_of(play(follow, signals(1)).await), Exit::Interrupted);
}

#[tokio::test(start_paused = true)]
async fn the_second_signal_leaves_at_once() {
    assert!(matches!(play(hang, signals(2)).await, Outcome::Left));
}

fn args(line: &str) -> RunArgs {
    use clap::Parser;
    let line = format!("millpond run routes --no-rest {line}");
    let parsed = crate::cli::args::Cli::try_parse_from(line.split_whitespace());
    match parsed.unwrap_or_else(|e| panic!("{e}")).command {
        crate::cli::args::Command::Run(args) => args,
        _ => panic!("not run"),
    }
}

fn job(build: fn(&JobArgs) -> Result<()>) -> [Job<()>; 1] {
    [Job { name: "routes", about: "", default_input: "", build }]
}

#[test]
fn arguments_and_settings_reach_the_engine_and_events_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let events = folder.path().join("events");
    let line =
        format!("--name mine --take-over --resume -D rest.port=0 --events {}", events.display());
    let fake = Fake::new(finish);
    let jobs = job(|_| Ok(()));
    let environment = vec![("MILLPOND_PARALLELISM_DEFAULT".to_owned(), "3".to_owned())];
    let exit = run(&fake, &jobs, &args(&line), environment, &Bar::new(false)).unwrap();
    assert_eq!(exit, Exit::Done);
    let request = fake.asked.take().unwrap();
    assert_eq!(request.job.as_str(), "mine");
    assert_eq!(
        (request.mode, request.take_over, request.replace_output),
        (StartMode::Resume, true, false)
    );
    assert_eq!((request.config.parallelism, request.config.rest.port), (3, Some(0)));
    let lines = events::parse(&std::fs::read_to_string(events).unwrap());
    let last = &lines.last().unwrap().event;
    assert_eq!(last, &events::Event::Ended { finished: true, position: 3 });
}

/// What a status server tells while the store is being opened.
fn look(status: watch::Sender<JobStatus>, _: watch::Receiver<Stop>) -> Playing {
    let seen = status.borrow().clone();
    Box::pin(async move {
        assert_eq!((seen.name.as_str(), seen.state), ("mine", JobState::Created));
        assert_eq!((seen.id.len(), seen.changed_ms()), (32, seen.started_ms));
        assert!(seen.started_ms > 0);
        Ok(Ended::Finished)
    })
}

/// The job had neither name nor id in `/jobs/overview`, and had begun in 1970.
#[test]
fn the_status_is_that_of_the_job_before_there_is_a_store() {
    let fake = Fake::new(look);
    let jobs = job(|_| Ok(()));
    run(&fake, &jobs, &args("--name mine"), Vec::new(), &Bar::new(false)).unwrap();
}

#[test]
fn an_option_that_the_job_does_not_look_at_starts_nothing() {
    let fake = Fake::new(hang);
    let jobs = job(|args| args.get("known").map_or(Ok(()), |_| Ok(())));
    let line = "--set knwon=1 --output out";
    let error = run(&fake, &jobs, &args(line), Vec::new(), &Bar::new(false)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
    let said = error.to_string();
    assert!(said.contains("--set knwon: ") && said.contains("did you mean known?"), "{said}");
    assert!(said.contains("--output has no effect"), "{said}");
    assert!(fake.asked.take().is_none());
}

#[test]
fn what_is_wrong_is_told_before_anything_starts() {
    let fake = Fake::new(hang);
    let bar = Bar::new(false);
    let good = job(|_| Ok(()));
    let refused =
        |jobs: &[Job<()>], line: &str| run(&fake, jobs, &args(line), Vec::new(), &bar).unwrap_err();
    assert_eq!(refused(&[], "").kind(), ErrorKind::Usage);
    assert_eq!(refused(&good, "--name a/b").kind(), ErrorKind::Usage);
    assert_eq!(refused(&good, "-D rest.port=x").kind(), ErrorKind::Config);
    let wrong = job(|_| Err(Error::new(ErrorKind::Graph, "no sink")));
    assert_eq!(refused(&wrong, "").kind(), ErrorKind::Graph);
    assert!(fake.asked.take().is_none());
}

/// It used to end the process by the panic, with a code of its own.
#[test]
fn a_panic_while_the_job_is_built_is_its_users_error() {
    let fake = Fake::new(hang);
    let jobs = job(|_| panic!("no such {}", "route"));
    let error = run(&fake, &jobs, &args(""), Vec::new(), &Bar::new(false)).unwrap_err();
    assert_eq!(error.to_string(), "building job routes panicked: no such route");
    assert_eq!((error.kind(), Exit::of(&error)), (ErrorKind::User, Exit::Failed));
    assert!(fake.asked.take().is_none());
}

#[tokio::test(start_paused = true)]
async fn the_status_is_served_while_the_job_runs() {
    let settings = config::RestSettings {
        bind_address: std::net::IpAddr::from([127, 0, 0, 1]),
        port: Some(0),
    };
    let bound = server::bind(&settings).await.unwrap();
    let address = bound.address();
    let (status, watched) = watch::channel(JobStatus::default());
    let (stop, _stopped) = watch::channel(Stop::No);
    let bar = Bar::new(false);
    let watcher = Watcher::new(watched, Clock::system(), &bar, None);
    // The "job" asks for its own status and ends with the answer.
    let job = pin!(async move {
        let status = status;
        status.send_modify(|s| s.state = JobState::Finished);
        let answered = ask(address).await;
        assert!(answered.contains("FINISHED"), "{answered}");
        Ok(Ended::Finished)
    });
    let ended = accompany(job, watcher, Some(bound), stream::pending(), &stop).await;
    assert_eq!(exit_of(ended), Exit::Done);
}

async fn ask(address: SocketAddr) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut socket = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    socket.write_all(request).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    answer
}
