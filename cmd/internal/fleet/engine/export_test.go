package engine

import (
	"context"

	"slipway/cmd/internal/fleet/registry"
	"slipway/cmd/internal/fleet/schedule"
)

// Plan shows plan to tests.
func (e *Engine) Plan(ctx context.Context, v *registry.View) (*schedule.Plan, error) {
	return e.plan(ctx, v)
}

// Settling shows settling to tests.
func (e *Engine) Settling(v *registry.View) bool { return e.settling(v) }
