//! The twin keeps a store's promises, whatever a season does to its calls.

use std::future::poll_fn;

use futures::pin_mut;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::*;
use crate::simulation::graphs;
use crate::simulation::scenario::Mishap;
use crate::simulation::weather::Season;
use crate::state::contract;

/// Calls again where the simulation refused for good, which no real store does.
#[derive(Debug)]
struct Stubborn(Arc<dyn Store>);

/// Calls until it is answered otherwise.
async fn again<'a, T>(call: impl Fn() -> BoxFuture<'a, Result<T>> + Send) -> Result<T> {
    loop {
        match call().await {
            Err(error) if error.to_string().contains("refused by the simulation") => {}
            answer => return answer,
        }
    }
}

impl Store for Stubborn {
    fn read_items(&self, keys: Vec<ItemKey>) -> BoxFuture<'_, Result<Vec<Option<Item>>>> {
        Box::pin(again(move || self.0.read_items(keys.clone())))
    }

    fn scan_page(&self, range: ItemRange, max_bytes: u64) -> BoxFuture<'_, Result<ScanPage>> {
        Box::pin(again(move || self.0.scan_page(range.clone(), max_bytes)))
    }

    fn write_items(&self, writes: Vec<ItemWrite>) -> BoxFuture<'_, Result<Vec<WriteOutcome>>> {
        Box::pin(again(move || self.0.write_items(writes.clone())))
    }

    fn put_block(
        &self,
        key: BlockKey,
        version: Version,
        bytes: Bytes,
    ) -> BoxFuture<'_, Result<WriteOutcome>> {
        Box::pin(again(move || self.0.put_block(key, version, bytes.clone())))
    }

    fn get_block(&self, key: BlockKey) -> BoxFuture<'_, Result<Option<Block>>> {
        Box::pin(again(move || self.0.get_block(key)))
    }

    fn health(&self) -> Health {
        self.0.health()
    }
}

#[tokio::test(start_paused = true)]
async fn it_keeps_its_promises_in_bad_weather() {
    for seed in 0..4 {
        let clock = Clock::starting_at(0);
        let weather = Weather::new(seed);
        let latency = Duration::from_millis(4);
        weather.set(Season { trouble: 0.4, throttled: 0.3, latency, ..Season::default() });
        let mut random = StdRng::seed_from_u64(seed);
        // Nobody asks what it must be: there is no job, only a watch that wants one.
        let scenario = (graphs::ALL[0].draw)(&mut random, Mishap::default());
        let watch = Watch::new(clock, scenario, false);
        let post = Post::default();
        let twin = Twin::new(clock, weather, post.clone(), watch.clone());
        let job = Name::new("job").unwrap();
        let mut scopes = 0;
        let kept = contract::all(|| {
            scopes += 1;
            Arc::new(Stubborn(twin.store(&job, Incarnation(scopes))))
        });
        pin_mut!(kept);
        let kept = poll_fn(|context| {
            post.poll(context);
            kept.as_mut().poll(context)
        });
        kept.await.unwrap_or_else(|broken| panic!("seed {seed}: {broken}"));
        let faults = watch.seen().faults;
        assert!(faults > 30, "{faults}");
    }
}
