//! Uses a blocking client that was created before a `fork` in the child, the grandchild and the parent.
//!
//! The argument is the address of a server. A process exits with 0 if its calls and its child succeeded.

#[cfg(unix)]
fn main() {
    program::run();
}

#[cfg(not(unix))]
fn main() {
    eprintln!("there is no fork on this system");
}

#[cfg(unix)]
mod program {
    use std::process::exit;
    use std::time::Duration;

    use fork::{Fork, fork, waitpid};
    use remcache::Config;
    use remcache::blocking::Client;

    type Failure = Box<dyn std::error::Error>;

    pub(crate) fn run() {
        let server = std::env::args().nth(1).expect("the argument is the address of a server");
        if let Err(error) = parent(&server) {
            eprintln!("{error}");
            exit(1);
        }
    }

    fn parent(server: &str) -> Result<(), Failure> {
        let config = Config::new().timeout(Duration::from_secs(10)).connections(2);
        let client = Client::with_config([server], config)?;
        // Before the first request, there is no connection yet.
        fork_and_wait(|| use_in("an early child", &client))?;
        use_in("the parent", &client)?;
        for child in ["the first child", "the second child"] {
            fork_and_wait(|| {
                use_in(child, &client)?;
                fork_and_wait(|| use_in("a grandchild", &client))?;
                use_in(child, &client)
            })?;
            use_in("the parent", &client)?;
        }
        Ok(())
    }

    /// Stores values and reads them.
    fn use_in(process: &str, client: &Client) -> Result<(), Failure> {
        let stored = client.set_many([("a", process), ("b", process)]).wait();
        if !stored.is_complete() {
            return Err(format!("{process}: {stored:?}").into());
        }
        for key in ["a", "b"] {
            let item = client.get(key).wait().map_err(|error| format!("{process}: {error}"))?;
            if item.as_ref().is_none_or(|item| item.value != process) {
                return Err(format!("{process}: an unexpected value: {item:?}").into());
            }
        }
        Ok(())
    }

    /// Runs a function in a child, and waits until it exits.
    fn fork_and_wait(function: impl FnOnce() -> Result<(), Failure>) -> Result<(), Failure> {
        match fork()? {
            Fork::Child => {
                let result = function();
                if let Err(error) = &result {
                    eprintln!("{error}");
                }
                exit(i32::from(result.is_err()));
            }
            Fork::Parent(child) => match waitpid(child)? {
                0 => Ok(()),
                status => Err(format!("a child ended with the status {status}").into()),
            },
        }
    }
}
