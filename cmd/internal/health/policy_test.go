package health_test

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"slipway/cmd/internal/health"
	"slipway/cmd/internal/updateconf"
)

var errBusy = errors.New("systemctl show: busy")

func TestPolicy(t *testing.T) {
	const s = time.Second
	app := func(change func(u *health.Unit)) []health.Unit {
		u := unit("app.service", 6*s)
		change(&u)
		return up(u)
	}
	without := func(units []health.Unit, change func(target *health.Unit)) []health.Unit {
		for i := range units {
			if units[i].ID == "boot-complete.target" {
				units[i].ActiveState, units[i].Entered = "inactive", 0
				change(&units[i])
			}
		}
		return units
	}
	idle := func(*health.Unit) {}
	for _, c := range []struct {
		name  string
		units []health.Unit
		now   time.Duration
		want  string
		start []string
		skip  []string
	}{
		{name: "all up", units: up(), now: 10 * s,
			want: "settling: everything is up, docker.service last, and has to stay so for 45s (until 53s)"},
		{name: "settled", units: up(), now: 53 * s, want: "healthy"},
		{name: "one came late", units: app(func(u *health.Unit) { u.Entered = 30 * s }), now: 53 * s,
			want: "settling: everything is up, app.service last, and has to stay so for 45s (until 1m15s)"},
		{name: "one is reloading", units: app(func(u *health.Unit) { u.ActiveState = "reloading" }), now: 60 * s, want: "healthy"},
		{name: "failed", units: app(func(u *health.Unit) { u.ActiveState, u.Result = "failed", "timeout" }), now: 9 * s,
			want: "unhealthy: app.service failed (timeout)"},
		{name: "failed without a word", units: app(func(u *health.Unit) { u.ActiveState = "failed" }), now: 9 * s,
			want: "unhealthy: app.service failed"},
		{name: "starting", units: without(app(func(u *health.Unit) { u.ActiveState, u.SubState = "activating", "start" }),
			func(u *health.Unit) { u.Queued = true }), now: 60 * s,
			want: "waiting: app.service is activating (start) (until 10m0s)"},
		{name: "starting for ever", units: app(func(u *health.Unit) { u.ActiveState, u.SubState = "activating", "start" }),
			now: 600 * s, want: "unhealthy: 10m0s after the start: app.service is activating (start)"},
		{name: "crashing again and again",
			units: app(func(u *health.Unit) { u.Entered, u.Restarts = 590*s, 13 }), now: 595 * s,
			want: "settling: everything is up, app.service (restarted 13 times) last, and has to stay so for 45s (until 10m35s)"},
		{name: "crashing for ever", units: app(func(u *health.Unit) { u.Entered, u.Restarts = 605*s, 14 }), now: 610 * s,
			want: "unhealthy: app.service (restarted 14 times) did not stay up for 45s within 10m0s of the start"},
		{name: "waits for others", units: without(app(func(u *health.Unit) { u.ActiveState, u.Queued = "inactive", true }),
			func(u *health.Unit) { u.Queued = true }), now: 9 * s,
			want: "waiting: app.service waits for others (until 10m0s)"},
		{name: "stopped by hand", units: app(func(u *health.Unit) { u.ActiveState = "inactive" }), now: 60 * s,
			want: "waiting: app.service is not running (until 10m0s)"},
		{name: "never started", units: app(func(u *health.Unit) { u.ActiveState, u.Entered, u.Checked = "inactive", 0, 0 }),
			now: 60 * s, want: "waiting: app.service is not running (until 10m0s)", start: []string{"app.service"}},
		{name: "condition", units: app(func(u *health.Unit) { u.ActiveState, u.Entered, u.Condition = "inactive", 0, false }),
			now: 60 * s, want: "healthy", skip: []string{"app.service does not apply (its conditions)"}},
		{name: "check that passed", units: app(func(u *health.Unit) {
			u.ActiveState, u.Type, u.Entered, u.Exited = "inactive", "oneshot", 0, 20*s
		}), now: 60 * s, want: "settling: everything is up, app.service last, and has to stay so for 45s (until 1m5s)"},
		{name: "masked", units: without(app(func(u *health.Unit) { u.LoadState, u.ActiveState = "masked", "inactive" }), idle),
			now: 60 * s, want: "healthy", skip: []string{"app.service is masked"}},
		{name: "masked, another never started", units: without(up(
			health.Unit{ID: "a.service", LoadState: "masked", ActiveState: "inactive"},
			health.Unit{ID: "b.service", LoadState: "loaded", ActiveState: "inactive"},
		), idle), now: 60 * s, want: "waiting: b.service is not running (until 10m0s)",
			start: []string{"b.service"}, skip: []string{"a.service is masked"}},
		{name: "no such unit", units: app(func(u *health.Unit) { u.LoadState, u.ActiveState = "not-found", "inactive" }),
			now: 9 * s, want: "unhealthy: app.service cannot be loaded (not-found)"},
		{name: "target not asked for yet", units: without(up(), idle), now: 9 * s,
			want: "waiting: boot-complete.target is inactive (until 10m0s)", start: []string{"boot-complete.target"}},
		{name: "target failed, a unit came up since", units: without(up(), func(u *health.Unit) { u.Entered = 0 }), now: 60 * s,
			want: "waiting: boot-complete.target is inactive (until 10m0s)", start: []string{"boot-complete.target"}},
		{name: "emergency", units: append(up(), health.Unit{ID: "emergency.target", ActiveState: "active"}), now: 9 * s,
			want: "unhealthy: the system is in emergency mode"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, start, skipped := health.Judge(c.units, c.now, &updateconf.Config{
				HealthSettle: 45 * s, HealthTimeout: 10 * time.Minute,
			})
			assert.Equal(t, c.want, got)
			assert.Equal(t, c.start, start)
			assert.Equal(t, c.skip, skipped)
		})
	}
}

// The output of systemctl 257 for a service, a target and a unit that is not.
func TestParseUnits(t *testing.T) {
	got := health.ParseUnits([]byte(`Type=notify
Result=exit-code
NRestarts=4
ExecMainExitTimestampMonotonic=51000000
ExecMainStatus=203
Id=etcd.service
Requires=sysinit.target system.slice
LoadState=loaded
ActiveState=activating
SubState=auto-restart
ActiveEnterTimestampMonotonic=0
Job=123
ConditionResult=yes
ConditionTimestampMonotonic=52386127

Id=boot-complete.target
Requires=etcd.service sysinit.target
LoadState=loaded
ActiveState=active
SubState=active
ActiveEnterTimestampMonotonic=68987948
ConditionResult=yes
ConditionTimestampMonotonic=68982406

Id=gone.service
Requires=
LoadState=not-found
ActiveState=inactive
SubState=dead
ActiveEnterTimestampMonotonic=0
ConditionResult=no
ConditionTimestampMonotonic=0
`))
	const us = time.Microsecond
	assert.Equal(t, []health.Unit{
		{
			ID: "etcd.service", LoadState: "loaded", ActiveState: "activating", SubState: "auto-restart",
			Result: "exit-code", Type: "notify", Status: 203, Restarts: 4, Queued: true,
			Requires: []string{"sysinit.target", "system.slice"}, Exited: 51000000 * us,
			Checked: 52386127 * us, Condition: true,
		},
		{
			ID: "boot-complete.target", LoadState: "loaded", ActiveState: "active", SubState: "active",
			Requires: []string{"etcd.service", "sysinit.target"}, Entered: 68987948 * us,
			Checked: 68982406 * us, Condition: true,
		},
		{ID: "gone.service", LoadState: "not-found", ActiveState: "inactive", SubState: "dead", Requires: []string{}},
	}, got)
}

func FuzzParseUnits(f *testing.F) {
	f.Add([]byte("Id=a\nJob=1\nRequires=b c\n\nId=b\nActiveState=active\n"))
	f.Add([]byte("\n\n=\nId=\nActiveEnterTimestampMonotonic=99999999999999999999"))
	f.Fuzz(func(t *testing.T, text []byte) {
		units := health.ParseUnits(text)
		got, _, _ := health.Judge(units, time.Minute, &updateconf.Config{HealthSettle: time.Second, HealthTimeout: time.Minute})
		assert.NotEmpty(t, got)
	})
}
