//! Reads that wait at the same time share a query, as writes share a commit.
//!
//! To ask the database costs more than most of what is asked: the question goes to another thread or process, and
//! the answer comes back. So while one query is under way, those who come wait, and the next query asks for all of
//! them at once. Nothing is kept: an answer was always read after it was asked for, so whoever has seen a write
//! answered sees what it wrote. Alone, nobody waits.

use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasher as _, Hash, RandomState},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use sqlx::{Database, Encode, QueryBuilder, Type};
use tokio::sync::oneshot;

use super::within;
use crate::error::Result;

/// How many keys one query asks for at most.
const BATCH: usize = 64;
/// How long one query may take: the others wait for its end, and would wait for ever where its connection has died.
const PATIENCE: Duration = Duration::from_secs(5);

/// Writes `(key, key, …)` for `IN`. The last key is repeated up to a power of two, so that few statements of
/// different lengths are prepared.
pub fn push_keys<DB: Database, K>(query: &mut QueryBuilder<DB>, keys: &[K])
where
    K: Clone + for<'k> Encode<'k, DB> + Type<DB>,
{
    query.push("(");
    let mut list = query.separated(", ");
    let more = keys.len().next_power_of_two() - keys.len();
    for key in keys.iter().chain(keys.last().into_iter().cycle().take(more)) {
        list.push_bind(key.clone());
    }
    query.push(")");
}

/// Reads of one kind, by key.
pub struct Shared<K, V> {
    lanes: Vec<Arc<Lane<K, V>>>,
    hasher: RandomState,
}

/// Those who wait for one query after the other.
struct Lane<K, V>(Mutex<State<K, V>>);

struct State<K, V> {
    /// Whether somebody has the turn.
    busy: bool,
    waiting: VecDeque<(K, oneshot::Sender<Word<K, V>>)>,
}

/// What somebody who waits is told.
enum Word<K, V> {
    Answer(Result<Option<V>>),
    YourTurn(Turn<K, V>),
}

/// Leave to ask. Whoever drops it, done or broken off, passes it on.
struct Turn<K, V>(Option<Arc<Lane<K, V>>>);

impl<K: Clone + Eq + Hash, V: Clone> Shared<K, V> {
    /// Reads of which as many run at once as there are lanes; equal keys take the same lane.
    #[must_use]
    pub fn new(lanes: usize) -> Self {
        let lane = || Arc::new(Lane(Mutex::new(State { busy: false, waiting: VecDeque::new() })));
        Self { lanes: std::iter::repeat_with(lane).take(lanes.max(1)).collect(), hasher: RandomState::new() }
    }

    /// What is under a key. `load` finds what is under several, none of them twice; it is asked by one for all.
    ///
    /// # Errors
    /// What `load` answered, or that it took too long; all who shared it get that.
    pub async fn find<F>(&self, key: K, load: F) -> Result<Option<V>>
    where
        F: AsyncFnOnce(Vec<K>) -> Result<HashMap<K, V>>,
    {
        let place = usize::try_from(self.hasher.hash_one(&key)).unwrap_or_default() % self.lanes.len();
        let lane = &self.lanes[place];
        let turn = loop {
            match lane.enter(key.clone()) {
                Ok(turn) => break turn,
                Err(word) => match word.await {
                    Ok(Word::Answer(answer)) => return answer,
                    Ok(Word::YourTurn(turn)) => break turn,
                    Err(_) => {} // Whoever asked for all has broken off.
                },
            }
        };
        let others = lane.take();
        let mut keys = vec![key.clone()];
        for (other, _) in &others {
            if !keys.contains(other) {
                keys.push(other.clone());
            }
        }
        // In a box, since only who asks needs the room: a request that waits would else hold it too.
        let found = within(PATIENCE, Box::pin(load(keys))).await;
        drop(turn);
        let answer = |key: &K| found.as_ref().map(|found| found.get(key).cloned()).map_err(Clone::clone);
        for (other, word) in others {
            drop(word.send(Word::Answer(answer(&other)))); // Who is gone needs no answer.
        }
        answer(&key)
    }
}

impl<K, V> Lane<K, V> {
    fn state(&self) -> MutexGuard<'_, State<K, V>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The turn when nobody has it, or a place among those who wait.
    fn enter(self: &Arc<Self>, key: K) -> Result<Turn<K, V>, oneshot::Receiver<Word<K, V>>> {
        let mut state = self.state();
        if !std::mem::replace(&mut state.busy, true) {
            return Ok(Turn(Some(Arc::clone(self))));
        }
        let (word, told) = oneshot::channel();
        state.waiting.push_back((key, word));
        Err(told)
    }

    /// Those whom the next query asks for too.
    fn take(&self) -> Vec<(K, oneshot::Sender<Word<K, V>>)> {
        let mut state = self.state();
        let count = state.waiting.len().min(BATCH - 1);
        state.waiting.drain(..count).filter(|(_, word)| !word.is_closed()).collect()
    }

    /// The next one in the queue; when there is none, the turn is free.
    fn next(&self) -> Option<oneshot::Sender<Word<K, V>>> {
        let mut state = self.state();
        let next = state.waiting.pop_front();
        state.busy = next.is_some();
        next.map(|(_, word)| word)
    }
}

impl<K, V> Drop for Turn<K, V> {
    fn drop(&mut self) {
        let Some(lane) = self.0.take() else { return };
        while let Some(next) = lane.next() {
            match next.send(Word::YourTurn(Self(Some(Arc::clone(&lane))))) {
                Err(Word::YourTurn(mut refused)) => refused.0 = None, // Gone; so the one behind.
                _ => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        cell::{Cell, RefCell},
        collections::HashMap,
    };

    use futures_util::{future::join_all, poll};
    use tokio::sync::Notify;

    use super::Shared;
    use crate::error::{Error, Result};

    /// A database with one number, which answers when it is let.
    struct Slow {
        number: Cell<i64>,
        gate: Notify,
        asked: RefCell<Vec<Vec<u8>>>,
        fails: Cell<bool>,
    }

    impl Slow {
        fn new() -> Self {
            let asked = RefCell::default();
            Self { number: Cell::new(1), gate: Notify::new(), asked, fails: Cell::new(false) }
        }

        /// Reads, and answers only then what it has read.
        async fn read(&self, keys: Vec<u8>) -> Result<HashMap<u8, i64>> {
            let (number, fails) = (self.number.get(), self.fails.get());
            self.asked.borrow_mut().push(keys.clone());
            self.gate.notified().await;
            if fails {
                Err(Error::Overloaded)
            } else {
                Ok(keys.into_iter().map(|key| (key, number)).collect())
            }
        }
    }

    #[tokio::test]
    async fn those_who_wait_share_the_next_query() {
        let (shared, slow) = (Shared::new(1), Slow::new());
        let find = |key| shared.find(key, |keys| slow.read(keys));
        let mut first = Box::pin(find(0));
        assert!(poll!(&mut first).is_pending());
        let mut rest = Box::pin(join_all([1, 2, 1, 3, 2].map(find)));
        assert!(poll!(&mut rest).is_pending());
        // What is written now is not in the first answer, and in all those that were asked for later.
        slow.number.set(2);
        slow.gate.notify_one();
        assert_eq!(first.await.unwrap(), Some(1));
        slow.gate.notify_one();
        let rest: Vec<_> = rest.await.into_iter().map(Result::unwrap).collect();
        assert_eq!(rest, [Some(2); 5]);
        assert_eq!(*slow.asked.borrow(), [vec![0], vec![1, 2, 3]]);
        // Afterwards the turn is free again.
        slow.gate.notify_one();
        assert_eq!(find(4).await.unwrap(), Some(2));
    }

    #[tokio::test]
    async fn whoever_breaks_off_holds_up_nobody() {
        let (shared, slow) = (Shared::new(1), Slow::new());
        let find = |key| shared.find(key, |keys| slow.read(keys));
        let (mut asks, mut is_next, mut waits) = (Box::pin(find(0)), Box::pin(find(1)), Box::pin(find(2)));
        assert!(poll!(&mut asks).is_pending());
        assert!(poll!(&mut is_next).is_pending());
        assert!(poll!(&mut waits).is_pending());
        drop(asks); // It had the turn, which passes to the next one,
        drop(is_next); // who is gone before noticing.
        slow.gate.notify_one();
        assert_eq!(waits.await.unwrap(), Some(1));
        // The same for one that has asked for others too.
        let (mut first, mut second, mut third) = (Box::pin(find(0)), Box::pin(find(1)), Box::pin(find(2)));
        assert!(poll!(&mut first).is_pending());
        assert!(poll!(&mut second).is_pending());
        assert!(poll!(&mut third).is_pending());
        slow.gate.notify_one();
        assert!(poll!(&mut first).is_ready());
        assert!(poll!(&mut second).is_pending());
        assert_eq!(slow.asked.borrow().last(), Some(&vec![1, 2]));
        drop(second);
        slow.gate.notify_one();
        assert_eq!(third.await.unwrap(), Some(1));
    }

    #[tokio::test]
    async fn a_failure_is_told_to_all_who_shared_it() {
        let (shared, slow) = (Shared::new(1), Slow::new());
        let find = |key| shared.find(key, |keys| slow.read(keys));
        let mut first = Box::pin(find(0));
        assert!(poll!(&mut first).is_pending());
        let mut rest = Box::pin(join_all([1, 2].map(find)));
        assert!(poll!(&mut rest).is_pending());
        slow.fails.set(true);
        slow.gate.notify_one();
        assert_eq!(first.await.unwrap(), Some(1));
        assert!(poll!(&mut rest).is_pending());
        slow.fails.set(false);
        slow.gate.notify_one();
        assert!(rest.await.into_iter().all(|answer| matches!(answer, Err(Error::Overloaded))));
        slow.gate.notify_one();
        assert_eq!(find(3).await.unwrap(), Some(1));
    }
}
