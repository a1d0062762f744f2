package fleetd

import (
	"context"
	"slices"

	"slipway/cmd/internal/fleet/api"
	"slipway/cmd/internal/fleet/schedule"
)

// SetDraining implements api.Drainer.
func (n *Node) SetDraining(ctx context.Context, draining bool) error {
	return n.Presence.SetDraining(ctx, draining)
}

// Draining implements api.Drainer. What is left is everything that the
// scheduler would still move, and what has moved and has not stopped yet.
func (n *Node) Draining() api.Draining {
	v, _ := n.Mirror.View()
	if v == nil {
		return api.Draining{}
	}
	id := n.Presence.Machine.ID
	c := v.Schedule()
	i := slices.IndexFunc(c.Machines, func(m schedule.Machine) bool { return m.ID == id })
	if i < 0 || !c.Machines[i].Draining {
		return api.Draining{}
	}
	d := api.Draining{Draining: true}
	moves := map[string]bool{}
	for _, decision := range schedule.Decide(c).Decisions {
		moves[decision.Unit] = true
	}
	for _, name := range n.Agent.Units() {
		job := v.Jobs[name]
		switch {
		case job == nil || job.Rules.Global:
		case job.Target != id || moves[name]:
			d.Left = append(d.Left, name)
		default:
			d.Stay = append(d.Stay, name)
		}
	}
	return d
}
