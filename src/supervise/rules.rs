//! The policy while the daemon runs: a tighter one is taken at once, a looser one waits for a restart,
//! and one that cannot be read lets nothing go.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use crate::{config::Config, policy::Policy};

/// Who looks after the policy.
pub(super) struct Rules {
    config: Config,
    /// The last one that could be read: what is looser than this waits.
    last: Mutex<Policy>,
    sender: watch::Sender<Arc<Policy>>,
}

/// What came of reading it again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reread {
    /// It holds now; it may be the same as before.
    Taken,
    /// It would let something go that the old one keeps; this is what.
    Looser(String),
    /// It cannot be read.
    Unreadable(String),
}

impl Rules {
    /// Reads it for the first time; the reason when it cannot be read.
    pub(super) fn begin(config: &Config) -> (Self, Option<String>) {
        let (policy, trouble) = match super::remotes::policy(config) {
            Ok(policy) => (policy, None),
            Err(why) => (Policy::default(), Some(why)),
        };
        let sender = watch::Sender::new(Arc::new(policy.clone()));
        (Self { config: config.clone(), last: Mutex::new(policy), sender }, trouble)
    }

    /// Where the one that holds is seen.
    pub(super) fn watch(&self) -> watch::Receiver<Arc<Policy>> {
        self.sender.subscribe()
    }

    /// Reads it again.
    pub(super) fn reread(&self) -> Reread {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match super::remotes::policy(&self.config) {
            Err(why) => {
                self.sender.send_replace(Arc::default());
                Reread::Unreadable(why)
            }
            Ok(policy) => {
                if let Some(why) = policy.looser_than(&last) {
                    // What held before it could not be read holds again.
                    self.sender.send_replace(Arc::new(last.clone()));
                    return Reread::Looser(why);
                }
                self.sender.send_replace(Arc::new(policy.clone()));
                *last = policy;
                Reread::Taken
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    const ALLOW: &str =
        "version = 1\n[[rule]]\nname = \"a\"\neffect = \"allow\"\nto = { zone = \"cloud\" }\n";
    const NONE: &str = "version = 1\n";

    #[test]
    fn a_policy_gets_tighter_while_the_daemon_runs_and_never_looser() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("policy.toml");
        let mut config = Config::default();
        config.policy.file = Some(file.clone());
        fs::write(&file, ALLOW).unwrap();
        let (rules, trouble) = Rules::begin(&config);
        let held = rules.watch();
        let count = || held.borrow().rules().len();
        assert_eq!((trouble, count()), (None, 1));
        fs::write(&file, "version = ").unwrap();
        assert!(matches!(rules.reread(), Reread::Unreadable(_)));
        assert_eq!(count(), 0, "nothing leaves");
        fs::write(&file, ALLOW).unwrap();
        assert_eq!((rules.reread(), count()), (Reread::Taken, 1), "what held before a slip holds again");
        fs::write(&file, NONE).unwrap();
        assert_eq!((rules.reread(), count()), (Reread::Taken, 0));
        fs::write(&file, ALLOW).unwrap();
        assert!(matches!(rules.reread(), Reread::Looser(_)));
        assert_eq!(count(), 0);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
        let Reread::Unreadable(why) = rules.reread() else { panic!("anybody can write it") };
        assert!(why.contains("chmod 0644"), "{why}");
        let (_, trouble) = Rules::begin(&Config {
            policy: crate::config::Policy { file: Some(dir.path().join("none")) },
            ..Config::default()
        });
        assert!(trouble.unwrap().contains("nothing leaves the device"));
    }
}
