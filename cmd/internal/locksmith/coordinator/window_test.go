package coordinator_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"slipway/cmd/internal/locksmith/lock"
	"slipway/cmd/internal/locksmith/window"
)

func TestWaitsForTheWindow(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMachine(t, "reboot")
		m.open(10*time.Hour, time.Hour)
		m.Random = func(most time.Duration) time.Duration {
			if most > time.Minute {
				assert.Equal(t, 5*time.Minute, most)
			}
			return most / 2
		}
		m.start()
		m.said("reboot strategy reboot, reboot window 10:00 for 1h0m0s (next Sat 2000-01-01 10:00 to Sat 11:00)")
		m.needsReboot("1.0.1")
		m.after(24 * time.Hour)
		assert.Equal(t, []time.Duration{10*time.Hour + 150*time.Second}, m.restarted(), "not all at the first moment")
		m.said("waiting for the reboot window, Sat 2000-01-01 10:00 UTC")
	})
}

// flatcar #408: a machine waited for the lock beyond the end of its window, took
// it then, and either restarted outside of the window or kept the others from
// theirs.
func TestNoLockOutsideTheWindow(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMachine(t, "etcd-lock")
		m.open(10*time.Hour, time.Hour)
		m.group.present[other] = lock.Presence{}
		m.group.do(t, func(v *lock.View) error {
			return v.Semaphore.Lock(other, lock.Record{State: lock.Restarting})
		})
		m.start()
		m.needsReboot("1.0.1")
		m.after(10*time.Hour + 30*time.Minute)
		m.said("waiting for the reboot lock: semaphore is at 0; held by " + other)
		m.after(31 * time.Minute) // closed
		m.said("the reboot window closes before this machine can restart; waiting for the next one")
		m.group.do(t, func(v *lock.View) error { return v.Unlock(other) })
		m.after(10 * time.Hour)
		assert.False(t, m.group.holds(me), "the lock is free for machines whose window is open")
		assert.Empty(t, m.restarted())
		m.after(13 * time.Hour)
		assert.Equal(t, []time.Duration{34 * time.Hour}, m.restarted())
		m.stop()
	})
}

// People are logged in when the window is about to close: it is for them.
func TestWindowClosesOnPeople(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMachine(t, "etcd-lock")
		m.open(0, time.Hour)
		m.people = 1
		m.start()
		m.after(58 * time.Minute)
		m.needsReboot("1.0.1")
		m.after(119 * time.Second)
		assert.Equal(t, []string{"System reboot in 1 minutes!"}, m.told, "what is left of the window")
		assert.Len(t, m.restarted(), 1)
		m.stop()
	})
	bubble(t, func(t *testing.T) {
		m := newMachine(t, "etcd-lock")
		m.open(0, time.Hour)
		m.people = 1
		m.start()
		m.after(59*time.Minute + 30*time.Second)
		m.needsReboot("1.0.1")
		m.after(time.Hour)
		assert.Empty(t, m.restarted(), "too late for today")
		assert.False(t, m.group.holds(me))
		assert.Equal(t, []string{"System reboot in the next reboot window!"}, m.messages())
		m.after(22*time.Hour + 6*time.Minute)
		assert.Equal(t, []time.Duration{24*time.Hour + 5*time.Minute}, m.restarted())
		m.stop()
	})
}

func TestMistypedWindowNeverOpens(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMachine(t, "etcd-lock")
		m.Config.Reboot.Window = new(window.Window)
		m.start()
		m.needsReboot("1.0.1")
		m.after(1000 * time.Hour)
		assert.Empty(t, m.restarted())
		assert.False(t, m.group.holds(me))
		m.said("there is no reboot window in which this machine could restart")
		m.stop()
	})
}

// The lock is given back when the machine is healthy, whatever the window says.
func TestGivenBackOutsideTheWindow(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMachine(t, "etcd-lock")
		m.open(10*time.Hour, time.Hour)
		m.group.do(t, func(v *lock.View) error {
			return v.Semaphore.Lock(me, lock.Record{State: lock.Restarting, Boot: "boot-0"})
		})
		m.start()
		m.healthy("1.0.0")
		assert.False(t, m.group.holds(me))
		m.stop()
	})
}
