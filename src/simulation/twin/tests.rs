//! The twin keeps the promises of stores and heads, whatever a season does to its calls.

use std::future::poll_fn;

use futures::pin_mut;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::*;
use crate::simulation::graphs;
use crate::simulation::scenario::Mishap;
use crate::simulation::weather::Season;
use crate::{checkpoint, state};

/// All that is promised, asked of `twin`.
async fn promises_are_kept(twin: &Twin) -> state::contract::Kept {
    let job = Name::new("job").map_err(|e| e.to_string())?;
    let mut incarnation = 0;
    let mut fresh = || {
        incarnation += 1;
        twin.store(&job, Incarnation(incarnation))
    };
    state::contract::all(&mut fresh).await?;
    state::contract::large(&mut fresh, 50, 1_100).await?;
    let mut jobs = 0;
    let fresh = || {
        jobs += 1;
        Name::new(format!("job-{jobs}")).unwrap()
    };
    let heads = checkpoint::contract::Resolved(twin.heads());
    checkpoint::contract::all(&heads, fresh).await
}

#[tokio::test(start_paused = true)]
async fn it_keeps_its_promises_in_bad_weather() {
    for seed in 0..4 {
        let clock = Clock::starting_at(0);
        let weather = Weather::new(seed);
        let latency = Duration::from_millis(4);
        // Echoes are of the head's writes.
        let season = Season { trouble: 0.4, throttled: 0.3, echoes: 0.3, ..Season::default() };
        weather.set(Season { latency, ..season });
        let mut random = StdRng::seed_from_u64(seed);
        // Nobody asks what it must be: there is no job, only a watch that wants one.
        let scenario = (graphs::ALL[0].draw)(&mut random, Mishap::default());
        let watch = Watch::new(clock, scenario, false);
        let post = Post::default();
        let twin = Twin::new(clock, weather, post.clone(), watch.clone());
        let kept = promises_are_kept(&twin);
        pin_mut!(kept);
        let kept = poll_fn(|context| {
            post.poll(context);
            kept.as_mut().poll(context)
        });
        kept.await.unwrap_or_else(|broken| panic!("seed {seed}: {broken}"));
        let faults = watch.seen().faults;
        assert!(faults > 100, "{faults}");
    }
}
