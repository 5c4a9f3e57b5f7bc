//! What is done once a tick on a core, for rooms that the engine does not know.

use std::cell::RefCell;
use std::rc::Weak;

/// Somebody who has something to do at every tick, such as handing over what has gathered since the last one.
pub trait OnTick {
    fn on_tick(&self);
}

/// Those of one core. They are held weakly: who is gone is forgotten.
#[derive(Default)]
pub struct Ticks {
    members: RefCell<Vec<Weak<dyn OnTick>>>,
}

impl Ticks {
    pub fn join(&self, member: Weak<dyn OnTick>) {
        self.members.borrow_mut().push(member);
    }

    /// Calls everybody. The core does so on its tick, and once more before its thread ends.
    pub fn run(&self) {
        // One who joins meanwhile is not called yet.
        let mut members = std::mem::take(&mut *self.members.borrow_mut());
        members.retain(|member| match member.upgrade() {
            Some(member) => {
                member.on_tick();
                true
            }
            None => false,
        });
        let mut joined = self.members.borrow_mut();
        members.append(&mut joined);
        *joined = members;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use super::*;

    #[derive(Default)]
    struct Counting(Cell<u32>);

    impl OnTick for Counting {
        fn on_tick(&self) {
            self.0.set(self.0.get() + 1);
        }
    }

    /// Brings another one in at each tick.
    struct Inviting(Rc<Ticks>, Rc<Counting>);

    impl OnTick for Inviting {
        fn on_tick(&self) {
            let guest: Rc<dyn OnTick> = self.1.clone();
            self.0.join(Rc::downgrade(&guest));
        }
    }

    fn join(ticks: &Ticks, member: &Rc<impl OnTick + 'static>) {
        let member: Rc<dyn OnTick> = member.clone();
        ticks.join(Rc::downgrade(&member));
    }

    #[test]
    fn everybody_is_called_once_a_tick_until_they_are_gone() {
        let ticks = Ticks::default();
        let (one, two) = (Rc::new(Counting::default()), Rc::new(Counting::default()));
        join(&ticks, &one);
        join(&ticks, &two);
        ticks.run();
        ticks.run();
        assert_eq!((one.0.get(), two.0.get()), (2, 2));
        drop(one);
        ticks.run();
        assert_eq!(two.0.get(), 3);
        assert_eq!(ticks.members.borrow().len(), 1);
    }

    #[test]
    fn one_who_joins_during_a_tick_is_called_at_the_next() {
        let ticks = Rc::new(Ticks::default());
        let guest = Rc::new(Counting::default());
        let host = Rc::new(Inviting(ticks.clone(), guest.clone()));
        join(&ticks, &host);
        ticks.run();
        assert_eq!(guest.0.get(), 0);
        ticks.run();
        assert_eq!(guest.0.get(), 1);
    }
}
