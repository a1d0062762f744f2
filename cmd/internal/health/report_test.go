package health_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/cmd/internal/health"
)

func TestReport(t *testing.T) {
	m := trial(t)
	r, err := health.ReadReport(m.Root)
	require.NoError(t, err)
	assert.Equal(t, &health.Report{Version: newVersion, Slot: "USR-B", Text: "starting"}, r)
	require.Zero(t, m.judge(), m.out)
	r, err = health.ReadReport(m.Root)
	require.NoError(t, err)
	assert.Equal(t, &health.Report{Version: newVersion, Slot: "USR-B", Healthy: true, Text: "healthy"}, r)
}

func TestReportOfRollback(t *testing.T) {
	m := trial(t)
	m.units = func(time.Duration) []health.Unit { return broken() }
	require.Zero(t, m.judge(), m.out)
	r, err := health.ReadReport(m.Root)
	require.NoError(t, err)
	assert.True(t, r.Unhealthy)
	assert.Equal(t, "unhealthy: app.service failed (exit-code, status 3)", r.Text)

	m.boot(partUSRA, map[string]string{"USR-B": "its tries are spent and it was never healthy"})
	m.units = func(time.Duration) []health.Unit { return up() }
	require.Zero(t, m.judge(), m.out)
	r, err = health.ReadReport(m.Root)
	require.NoError(t, err)
	assert.True(t, r.Healthy)
	assert.Equal(t, "app.service failed (exit-code, status 3)", r.Failure(newVersion))
	assert.Empty(t, r.Failure(oldVersion))
}

// A machine that runs from memory has no judge.
func TestReportWithoutSlot(t *testing.T) {
	r, err := health.ReadReport(t.TempDir())
	require.NoError(t, err)
	assert.Equal(t, &health.Report{Healthy: true, Text: "not started from a slot"}, r)
}

// Who follows hears of every phase.
func TestFollow(t *testing.T) {
	m := trial(t)
	ctx, cancel := context.WithCancel(t.Context())
	heard := make(chan string, 16)
	done := make(chan error, 1)
	go func() {
		done <- health.Follow(ctx, m.Root, func() {
			if r, err := health.ReadReport(m.Root); err == nil {
				heard <- r.Text
			}
		})
	}()
	assert.Equal(t, "starting", <-heard)
	require.Zero(t, m.judge(), m.out)
	for text := range heard {
		if text == "healthy" {
			break
		}
	}
	cancel()
	assert.ErrorIs(t, <-done, context.Canceled)
}
