package engine_test

import (
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/cmd/internal/fleet/engine"
	"slipway/cmd/internal/fleet/registry"
	"slipway/cmd/internal/fleet/unit"
)

// A machine that is lost has the grace to be back; then its units are moved.
// If it is lost again the grace begins anew.
func TestGrace(t *testing.T) {
	now := time.Unix(1e9, 0)
	e := &engine.Engine{Grace: 8 * time.Second, Now: func() time.Time { return now }, Log: slog.New(slog.NewTextHandler(t.Output(), nil))}
	view := func(machines ...string) *registry.View {
		v := &registry.View{Machines: map[string]*registry.Machine{}, Jobs: map[string]*registry.Job{
			"a.service": {Name: "a.service", UID: "1", Rules: &unit.Rules{}, Desired: unit.Launched, Target: "m1"},
			"b.service": {Name: "b.service", UID: "2", Rules: &unit.Rules{Peers: []string{"a.service"}}, Desired: unit.Launched, Target: "m1"},
		}}
		for _, id := range machines {
			v.Machines[id] = &registry.Machine{ID: id}
		}
		return v
	}
	moves := func(v *registry.View) map[string]string {
		p, err := e.Plan(t.Context(), v)
		require.NoError(t, err)
		to := map[string]string{}
		for _, d := range p.Decisions {
			to[d.Unit] = d.To
		}
		return to
	}
	pass := func(d time.Duration) { now = now.Add(d) }
	assert.Empty(t, moves(view("m1", "m2")))
	assert.Empty(t, moves(view("m2")), "just lost")
	pass(7 * time.Second)
	assert.Empty(t, moves(view("m2")))
	assert.Empty(t, moves(view("m1", "m2")), "back")
	pass(time.Hour)
	assert.Empty(t, moves(view("m2")), "lost again")
	pass(8 * time.Second)
	assert.Equal(t, map[string]string{"a.service": "m2", "b.service": "m2"}, moves(view("m2")))
	assert.Empty(t, moves(view()), "nowhere to go")
}

func TestSettling(t *testing.T) {
	now := time.Unix(1e9, 0)
	e := &engine.Engine{Settle: 10 * time.Second, Now: func() time.Time { return now }}
	for age, want := range map[time.Duration]bool{
		0: true, 9 * time.Second: true, 10 * time.Second: false, time.Hour: false,
		-time.Second: false, // made by a machine whose clock is ahead: nobody knows
	} {
		v := &registry.View{Cluster: &registry.Cluster{ID: "c", Created: now.Add(-age)}}
		assert.Equal(t, want, e.Settling(v), age)
	}
}
