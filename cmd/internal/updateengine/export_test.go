package updateengine

import (
	"context"
	"time"

	"slipway/signing/omaha"
)

// Attempt shows attempt to tests.
func (g *Engine) Attempt(ctx context.Context, forced bool) error { return g.attempt(ctx, forced).err }

// Next is how long to wait after an attempt with such an outcome.
func Next(err error, failures int, poll time.Duration, random float64) time.Duration {
	return next(result{err: err, poll: poll}, failures, random)
}

// ServerError is a server that answers with a status of HTTP.
func ServerError(code int, retryAfter time.Duration) error { return &serverError{code, retryAfter} }

// StateOf shows the state to tests.
func (g *Engine) StateOf() *State { return g.state }

// RefusedChannel is a server that does not know the channel.
func RefusedChannel() error { return &omaha.StatusError{Status: "error-noPackageFound"} }
