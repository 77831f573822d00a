//! The server's counters while a contender runs: a second measurement of the same load, with a clock of its own.

use std::process::{Child, Output};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::server;

/// The counters at instants, in order.
#[derive(Debug)]
pub(crate) struct Watched(Vec<Look>);

#[derive(Clone, Copy, Debug)]
struct Look {
    seconds: f64,
    gets: u64,
    sets: u64,
}

impl Watched {
    /// Gets from the first look to the last.
    pub(crate) fn gets(&self) -> u64 {
        self.0.last().map_or(0, |look| look.gets) - self.0.first().map_or(0, |look| look.gets)
    }

    /// Gets a second in the longest time in which gets were answered and nothing was stored; the step at
    /// either end is left out, for the load began or ended within it.
    pub(crate) fn steady(&self) -> Result<f64> {
        let is_steady = |pair: &[Look]| pair[1].gets > pair[0].gets && pair[1].sets == pair[0].sets;
        let steps: Vec<bool> = self.0.windows(2).map(is_steady).collect();
        let (first, last) = longest(&steps).filter(|(first, last)| last - first > 2).context("no steady load")?;
        let (from, to) = (self.0[first + 1], self.0[last - 1]);
        Ok((to.gets - from.gets) as f64 / (to.seconds - from.seconds))
    }
}

/// The longest run of steps that are so: its first step, and the step behind it.
fn longest(steps: &[bool]) -> Option<(usize, usize)> {
    let mut longest = 0..0;
    let mut first = 0;
    for (place, &is_so) in steps.iter().chain([&false]).enumerate() {
        if !is_so {
            if place - first > longest.len() {
                longest = first..place;
            }
            first = place + 1;
        }
    }
    (!longest.is_empty()).then_some((longest.start, longest.end))
}

/// Waits for a child, and looks at the counters meanwhile.
pub(crate) fn until_it_ends(child: Child, port: u16) -> Result<(Output, Watched)> {
    let begun = Instant::now();
    let mut looks = vec![look(port, begun)?];
    let child = thread::spawn(move || child.wait_with_output());
    while !child.is_finished() {
        thread::sleep(EVERY);
        looks.push(look(port, begun)?);
    }
    let output = child.join().ok().context("waiting for a child")??;
    looks.push(look(port, begun)?);
    Ok((output, Watched(looks)))
}

fn look(port: u16, begun: Instant) -> Result<Look> {
    let asked = begun.elapsed();
    let [gets, sets] = server::counters(port, ["cmd_get", "cmd_set"])?;
    // The server answers somewhere between the question and its reply.
    Ok(Look { seconds: (asked + begun.elapsed()).as_secs_f64() / 2.0, gets, sets })
}

const EVERY: Duration = Duration::from_millis(100);

#[cfg(test)]
impl Watched {
    /// Looks as seconds, gets and sets.
    pub(super) fn of(looks: &[(f64, u64, u64)]) -> Self {
        Self(looks.iter().map(|&(seconds, gets, sets)| Look { seconds, gets, sets }).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_steady_part_is_without_stores_and_ends() {
        let watched = Watched::of(&[
            (0.0, 100, 0),
            (1.0, 100, 50),
            (2.0, 110, 60),
            (3.0, 150, 60),
            (4.0, 250, 60),
            (5.0, 350, 60),
            (6.0, 355, 60),
            (7.0, 355, 60),
        ]);
        assert_eq!(watched.gets(), 255);
        assert_eq!(watched.steady().unwrap(), 100.0);
        assert!(Watched::of(&[(0.0, 0, 0), (1.0, 5, 0)]).steady().is_err());
        assert!(Watched::of(&[]).steady().is_err());
    }

    #[test]
    fn the_longest_run_is_found() {
        let runs = |text: &str| longest(&text.bytes().map(|byte| byte == b'x').collect::<Vec<_>>());
        assert_eq!(runs("-xx-xxx-x"), Some((4, 7)));
        assert_eq!(runs("xxx"), Some((0, 3)));
        assert_eq!(runs("--"), None);
        assert_eq!(runs(""), None);
    }
}
