package coordinator_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/cmd/internal/health"
	"slipway/cmd/internal/locksmith/coordinator"
	"slipway/cmd/internal/locksmith/lock"
	"slipway/cmd/internal/updateconf"
)

func TestRebootAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMachine(t, "reboot")
		m.start()
		assert.Equal(t, "NAME=locksmithd\nSTRATEGY=reboot\nSTATE=running\n", m.state())
		assert.Equal(t, 1, m.ready)
		m.status <- coordinator.Status{}
		m.after(time.Hour)
		assert.Empty(t, m.restarted())
		m.needsReboot("1.0.1")
		assert.Equal(t, []time.Duration{time.Hour}, m.restarted())
		assert.Equal(t, "firmware", m.restartMethod())
		assert.Equal(t, "NAME=locksmithd\nSTRATEGY=reboot\nSTATE=rebooting\n", m.state())
		assert.Equal(t, []string{"System reboot in 5 minutes!"}, m.messages())
		m.said("reboot strategy reboot, reboot window always", "restart needed into 1.0.1", "restarting into 1.0.1")
		m.stop()
		assert.Zero(t, m.group.changed())
	})
}

func TestOff(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMachine(t, "off")
		require.NoError(t, coordinator.Run(t.Context(), m.Env))
		assert.Equal(t, "NAME=locksmithd\nSTRATEGY=off\nSTATE=disabled\n", m.state())
	})
}

func TestOneCoordinatorOnly(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMachine(t, "reboot")
		m.start()
		assert.ErrorContains(t, coordinator.Run(t.Context(), m.Env),
			"run/update-engine/coordinator.conf: another program coordinates restarts")
		m.stop()
	})
}

func TestPeopleGetFiveMinutes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMachine(t, "reboot")
		m.Config.Reboot.Method = "kexec"
		m.people = 2
		m.start()
		m.needsReboot("")
		m.after(5*time.Minute - 1)
		assert.Empty(t, m.restarted())
		m.after(1)
		assert.Equal(t, []time.Duration{5 * time.Minute}, m.restarted())
		assert.Equal(t, "kexec", m.restartMethod())
		m.stop()
	})
}

// The engine may be told to forget the update while people log out.
func TestNeedPasses(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMachine(t, "etcd-lock")
		m.people = 1
		m.start()
		m.needsReboot("1.0.1")
		assert.Equal(t, lock.Waiting, m.group.record(me).State)
		m.after(time.Minute)
		m.status <- coordinator.Status{}
		m.after(time.Hour)
		assert.Empty(t, m.restarted())
		assert.False(t, m.group.holds(me))
		assert.Contains(t, m.state(), "STATE=running")
		m.said("the update engine has changed its mind", "gave the reboot lock back: not restarting now")
		m.needsReboot("1.0.2")
		m.after(5 * time.Minute)
		assert.Len(t, m.restarted(), 1)
		assert.Equal(t, "1.0.2", m.group.record(me).To)
		m.stop()
	})
}

// A person's request outlives what the engine says next.
func TestForced(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMachine(t, "reboot")
		m.people = 1
		m.start()
		m.status <- coordinator.Status{NeedReboot: true, Forced: true}
		m.after(time.Minute)
		m.status <- coordinator.Status{}
		m.after(4 * time.Minute)
		assert.Len(t, m.restarted(), 1)
		m.stop()
	})
}

func TestLockOverTheRestart(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMachine(t, "etcd-lock")
		m.start()
		m.healthy("1.0.0")
		assert.Equal(t, lock.Presence{Host: "one", Boot: "boot-1", Version: "1.0.0", Health: "healthy", Since: m.begin.UTC()},
			m.group.presence(me))
		m.needsReboot("1.0.1")
		require.Len(t, m.restarted(), 1)
		want := lock.Record{State: lock.Restarting, Since: m.begin, Host: "one", Boot: "boot-1", From: "1.0.0", To: "1.0.1"}
		got := m.group.record(me)
		assert.True(t, want.Since.Equal(got.Since))
		got.Since = want.Since
		assert.Equal(t, want, got)
		m.stop()
		assert.True(t, m.group.holds(me), "it is down")
		assert.False(t, m.group.there(me))

		m.newBoot("boot-2")
		m.start()
		m.after(time.Hour)
		assert.True(t, m.group.holds(me), "it is back and not healthy yet")
		m.said("keeping the reboot lock: the health of this boot is not known yet")
		m.healthy("1.0.1")
		assert.False(t, m.group.holds(me))
		m.said("gave the reboot lock back: version 1.0.1 is healthy")
		m.stop()
	})
}

// A machine that rolled back keeps the lock, says why, and is passed by nobody.
// It gives the lock back after an update that is healthy.
func TestRollbackHaltsTheRollout(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMachine(t, "etcd-lock")
		m.start()
		m.healthy("1.0.0")
		m.needsReboot("1.0.1")
		m.stop()

		m.newBoot("boot-2")
		m.start()
		m.judged <- &health.Report{
			Version: "1.0.0", Healthy: true, Text: "healthy",
			Failures: []health.Record{{Slot: "USR-B", Version: "1.0.1", Reason: "app.service failed"}},
		}
		m.after(24 * time.Hour)
		r := m.group.record(me)
		assert.Equal(t, lock.Failed, r.State)
		assert.Equal(t, "runs 1.0.0 again instead of 1.0.1, which failed: app.service failed", r.Reason)
		m.said("keeping the reboot lock: "+r.Reason,
			`other machines do not follow until "locksmithctl unlock `+me+`" or an update that is healthy`)
		changes := m.group.changed()
		m.healthy("1.0.0") // the judge writes again
		m.after(time.Hour)
		assert.Equal(t, changes+1, m.group.changed(), "the reason is another one now")

		m.group.do(t, func(v *lock.View) error { v.Max = 5; return nil })
		v, _ := m.group.View(t.Context())
		assert.ErrorContains(t, v.Semaphore.Lock(other, lock.Record{State: lock.Waiting, To: "1.0.1"}), "halted by "+me)

		m.needsReboot("1.0.2")
		require.Len(t, m.restarted(), 2)
		m.stop()
		m.newBoot("boot-3")
		m.start()
		m.healthy("1.0.2")
		assert.False(t, m.group.holds(me))
		m.stop()
	})
}

func TestUnlockedByHandAfterRollback(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMachine(t, "etcd-lock")
		m.group.do(t, func(v *lock.View) error {
			return v.Semaphore.Lock(me, lock.Record{State: lock.Restarting, Boot: "boot-0", From: "1.0.0", To: "1.0.1"})
		})
		m.start()
		m.healthy("1.0.0")
		require.Equal(t, lock.Failed, m.group.record(me).State)
		m.group.do(t, func(v *lock.View) error { return v.Unlock(me) })
		m.after(time.Hour)
		assert.False(t, m.group.holds(me), "and it does not take it again")
		m.stop()
	})
}

func TestUnhealthyKeepsTheLock(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMachine(t, "etcd-lock")
		m.group.do(t, func(v *lock.View) error {
			return v.Semaphore.Lock(me, lock.Record{State: lock.Restarting, Boot: "boot-0", From: "1.0.0"})
		})
		m.start()
		m.judged <- &health.Report{Version: "1.0.0", Unhealthy: true, Text: "unhealthy: app.service failed"}
		m.after(time.Hour)
		assert.Equal(t, "unhealthy: app.service failed", m.group.record(me).Reason)
		m.stop()
		assert.Equal(t, lock.Failed, m.group.record(me).State, "also while the program is away")
	})
}

// The holder is CoreOS's locksmithd, which says nothing about itself.
func TestLockOfAnOlderProgram(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMachine(t, "etcd-lock")
		m.group.text = []byte(`{"semaphore":0,"max":1,"holders":["` + me + `"]}`)
		m.start()
		m.after(time.Hour)
		assert.True(t, m.group.holds(me))
		m.healthy("1.0.0")
		assert.False(t, m.group.holds(me))
		m.stop()
	})
}

func TestWaitsForItsTurn(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMachine(t, "etcd-lock")
		m.group.present[other] = lock.Presence{}
		m.group.do(t, func(v *lock.View) error {
			return v.Semaphore.Lock(other, lock.Record{State: lock.Restarting, Since: m.begin, Host: "two"})
		})
		m.start()
		m.needsReboot("1.0.1")
		m.after(100 * time.Hour)
		assert.Empty(t, m.restarted())
		assert.Contains(t, m.state(), "STATE=reboot-planned")
		m.said("waiting for the reboot lock: semaphore is at 0; held by " + other + " (two) since 2000-01-01T00:00:00Z")
		m.group.setPresent(other, nil)
		m.after(100 * time.Hour)
		assert.Empty(t, m.restarted(), "it is restarting: for ever, unless somebody says otherwise")
		m.said("waiting for the reboot lock: semaphore is at 0; held by " + other +
			" (two) since 2000-01-01T00:00:00Z, not reachable")
		m.group.do(t, func(v *lock.View) error { return v.Unlock(other) })
		m.after(0)
		assert.Equal(t, []time.Duration{200 * time.Hour}, m.restarted(), "at once")
		m.stop()
	})
}

// A machine that vanished before it restarted has no use for the lock: its slot
// is free when its lease ends.
func TestDeadHolderIsPassedOver(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMachine(t, "etcd-lock")
		m.group.present[other] = lock.Presence{}
		m.group.do(t, func(v *lock.View) error { return v.Semaphore.Lock(other, lock.Record{State: lock.Waiting}) })
		m.start()
		m.needsReboot("1.0.1")
		m.after(time.Hour)
		assert.Empty(t, m.restarted())
		m.group.setPresent(other, nil) // its lease ends
		m.after(0)
		assert.Len(t, m.restarted(), 1)
		assert.False(t, m.group.holds(other))
		m.said("took the reboot lock from " + other + ", which is gone")
		m.stop()
	})
}

func TestHolderTimeout(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMachine(t, "etcd-lock")
		m.Config.Reboot.HolderTimeout = 20 * time.Minute
		m.group.present[other] = lock.Presence{}
		m.group.do(t, func(v *lock.View) error { return v.Semaphore.Lock(other, lock.Record{State: lock.Restarting}) })
		m.start()
		m.needsReboot("1.0.1")
		m.after(time.Hour)
		m.group.setPresent(other, nil)
		m.after(10 * time.Minute)
		m.group.setPresent(other, &lock.Presence{})
		m.after(0)
		m.group.setPresent(other, nil)
		m.after(20*time.Minute - time.Second)
		assert.Empty(t, m.restarted(), "it was back in between")
		m.after(2 * time.Second)
		assert.Len(t, m.restarted(), 1)
		m.stop()
	})
}

func TestHolderTimeoutSparesFailures(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMachine(t, "etcd-lock")
		m.Config.Reboot.HolderTimeout = time.Minute
		m.group.do(t, func(v *lock.View) error {
			return v.Semaphore.Lock(other, lock.Record{State: lock.Failed, To: "1.0.1", Reason: "no"})
		})
		m.start()
		m.needsReboot("1.0.1")
		m.after(100 * time.Hour)
		assert.Empty(t, m.restarted())
		m.said("waiting for the reboot lock: halted by " + other + ": no; held by " + other + ", not reachable, no")
		m.stop()
	})
}

func TestRestartRefused(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMachine(t, "etcd-lock")
		m.refuse(errors.New("logind: busy"))
		m.start()
		m.needsReboot("1.0.1")
		assert.False(t, m.group.holds(me), "others have their turn")
		assert.Contains(t, m.state(), "STATE=reboot-planned")
		m.said("restart: logind: busy; trying again in 5s")
		m.after(4 * time.Second)
		m.refuse(nil)
		m.after(2 * time.Second)
		assert.Len(t, m.restarted(), 1)
		assert.True(t, m.group.holds(me))
		m.stop()
	})
}

func TestMachineDoesNotGoDown(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMachine(t, "etcd-lock")
		m.start()
		m.needsReboot("")
		m.after(15 * time.Minute)
		assert.EqualError(t, <-m.done, "the machine did not go down within 15m0s")
		assert.True(t, m.group.holds(me))
	})
}

// The program is stopped while the machine has the lock and did not restart.
func TestStoppedWhileWaiting(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMachine(t, "etcd-lock")
		m.people = 1
		m.start()
		m.needsReboot("1.0.1")
		require.True(t, m.group.holds(me))
		m.stop()
		assert.False(t, m.group.holds(me))
	})
}

// And it crashed then: the next run has nothing to wait for.
func TestStartedAgainAfterCrash(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMachine(t, "etcd-lock")
		m.group.do(t, func(v *lock.View) error {
			return v.Semaphore.Lock(me, lock.Record{State: lock.Waiting, Boot: "boot-1"})
		})
		m.start()
		assert.False(t, m.group.holds(me))
		m.said("gave the reboot lock back: the restart is called off")
		m.stop()
	})
}

func TestManualLockStays(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMachine(t, "etcd-lock")
		m.group.do(t, func(v *lock.View) error {
			return v.Semaphore.Lock(me, lock.Record{State: lock.Manual, Boot: "boot-1"})
		})
		m.start()
		m.healthy("1.0.0")
		m.after(time.Hour)
		assert.True(t, m.group.holds(me))
		m.stop()
		m.newBoot("boot-2") // and as on CoreOS, not over a restart
		m.start()
		m.healthy("1.0.0")
		assert.False(t, m.group.holds(me))
		m.stop()
	})
}

func TestEtcdAway(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMachine(t, "etcd-lock")
		m.group.down = errors.New("etcd: no leader")
		m.start()
		m.needsReboot("1.0.1")
		m.after(24 * time.Hour)
		assert.Empty(t, m.restarted(), "without the lock nobody restarts")
		m.group.mu.Lock()
		m.group.down = nil
		m.group.mu.Unlock()
		m.after(5 * time.Minute)
		assert.Len(t, m.restarted(), 1)
		m.said("etcd: no leader; trying again in 5s", "etcd: no leader; trying again in 5m0s")
		m.stop()
	})
}

func TestBestEffort(t *testing.T) {
	for _, c := range []struct {
		name             string
		etcd, configured bool
		turns            bool
	}{
		{"nothing", false, false, false}, {"etcd here", true, false, true}, {"etcd elsewhere", false, true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				m := newMachine(t, "best-effort")
				m.etcd, m.Config.Reboot.Etcd.Configured = c.etcd, c.configured
				m.start()
				m.needsReboot("1.0.1")
				assert.Len(t, m.restarted(), 1)
				assert.Equal(t, c.turns, m.group.holds(me))
				m.stop()
			})
		})
	}
}

// A person had a machine restart by turns that takes none by itself.
func TestDebtIsPaid(t *testing.T) {
	for _, strategy := range []string{"off", "reboot"} {
		t.Run(strategy, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				m := newMachine(t, strategy)
				require.NoError(t, coordinator.Owe(m.Root))
				m.group.do(t, func(v *lock.View) error {
					return v.Semaphore.Lock(me, lock.Record{State: lock.Restarting, Boot: "boot-0"})
				})
				m.start()
				m.after(time.Hour)
				assert.True(t, m.group.holds(me))
				m.healthy("1.0.0")
				assert.False(t, m.group.holds(me))
				_, err := os.Stat(filepath.Join(m.Root, "var/lib/slipway/reboot-lock"))
				assert.ErrorIs(t, err, os.ErrNotExist)
				if strategy == "off" {
					require.NoError(t, <-m.done)
					return
				}
				m.stop()
			})
		})
	}
}

func TestNoMachineID(t *testing.T) {
	m := newMachine(t, "reboot")
	m.file("etc/machine-id", "uninitialized\n")
	assert.EqualError(t, coordinator.Run(t.Context(), m.Env),
		`machine id: "uninitialized" in /etc/machine-id: want 32 hexadecimal digits`)
}

// What is wrong in update.conf is said, and no reason to stop.
func TestProblemsAreSaid(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMachine(t, "reboot")
		m.Config.Problems = []updateconf.Problem{{Path: "/etc/coreos/update.conf", Line: 3, Text: "nonsense"}}
		m.start()
		m.said("/etc/coreos/update.conf:3: nonsense")
		m.stop()
	})
}

// A restart was asked for, and nothing came of it: the lock must not stay for
// ever with a machine that does its work.
func TestRestartThatDidNotHappen(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMachine(t, "etcd-lock")
		m.group.do(t, func(v *lock.View) error {
			return v.Semaphore.Lock(me, lock.Record{State: lock.Restarting, Boot: "boot-1"})
		})
		m.start()
		m.after(14 * time.Minute)
		assert.True(t, m.group.holds(me))
		m.after(time.Minute)
		assert.False(t, m.group.holds(me))
		m.said("keeping the reboot lock: the machine is about to restart",
			"gave the reboot lock back: the machine did not restart within 15m0s")
		m.stop()
	})
}
