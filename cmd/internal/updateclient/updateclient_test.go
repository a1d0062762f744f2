package updateclient_test

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"

	"slipway/cmd/internal/updatebus"
	"slipway/cmd/internal/updateclient"
)

// engine is an engine that goes through some statuses when it is asked to.
type engine struct {
	now     updatebus.Status
	goes    []updatebus.Operation
	refuses error
	resets  int
	told    chan updatebus.Status
}

func (e *engine) AttemptUpdate(context.Context) error {
	for _, op := range e.goes {
		e.now.Operation = op
		e.told <- e.now
	}
	close(e.told)
	return e.refuses
}

func (e *engine) ResetStatus(context.Context) error { e.resets++; return e.refuses }

func (e *engine) Status(context.Context) (updatebus.Status, error) { return e.now, e.refuses }

func (e *engine) Listen(context.Context) (<-chan updatebus.Status, error) {
	e.told = make(chan updatebus.Status, 16)
	return e.told, nil
}

func run(e *engine, args ...string) (code int, out, complaint string) {
	var stdout, stderr bytes.Buffer
	if e.told == nil {
		e.told = make(chan updatebus.Status, 16)
	}
	code = updateclient.Main(context.Background(), args, updateclient.Env{
		Name: "update_engine_client", Stdout: &stdout, Stderr: &stderr,
		Connect: func(context.Context) (updateclient.Engine, func() error, error) {
			return e, func() error { return nil }, nil
		},
	})
	return code, stdout.String(), stderr.String()
}

func TestStatus(t *testing.T) {
	e := &engine{now: updatebus.Status{
		LastChecked: 1467734462, Progress: 0.25, Operation: updatebus.Downloading, NewVersion: "4889.0.0", NewSize: 123,
	}}
	const want = `LAST_CHECKED_TIME=1467734462
PROGRESS=0.250000
CURRENT_OP=UPDATE_STATUS_DOWNLOADING
NEW_VERSION=4889.0.0
NEW_SIZE=123
`
	for _, flag := range []string{"-status", "--status", "-status=true"} {
		code, out, _ := run(e, flag)
		assert.Zero(t, code)
		assert.Equal(t, want, out)
	}
}

func TestUpdate(t *testing.T) {
	e := &engine{
		now: updatebus.Status{Operation: updatebus.Idle, NewVersion: "0.0.0"},
		goes: []updatebus.Operation{
			updatebus.Idle, updatebus.Checking, updatebus.Downloading, updatebus.NeedReboot, updatebus.Checking,
		},
	}
	code, out, _ := run(e, "-update")
	assert.Zero(t, code)
	assert.Contains(t, out, "Initiating update check and install.\n")
	assert.Equal(t, 4, bytes.Count([]byte(out), []byte("CURRENT_OP=")), "until it is ready, and no longer")

	e.now.Operation = updatebus.NeedReboot
	code, out, _ = run(e, "-update")
	assert.Zero(t, code)
	assert.Contains(t, out, "UPDATED_NEED_REBOOT", "it is ready already")

	e = &engine{now: updatebus.Status{Operation: updatebus.Idle}}
	code, _, complaint := run(e, "-update")
	assert.Equal(t, 1, code)
	assert.Equal(t, "update_engine_client: the system bus closed the connection\n", complaint)
}

func TestErrors(t *testing.T) {
	code, _, complaint := run(&engine{refuses: updatebus.ErrNoEngine}, "-check_for_update")
	assert.Equal(t, 1, code)
	assert.Equal(t, "update_engine_client: the update engine does not run\n"+
		"hint: systemctl status update-engine.service\n", complaint)
	code, _, complaint = run(&engine{refuses: errors.New("no update waits for a reboot")}, "-reset_status")
	assert.Equal(t, 1, code)
	assert.Equal(t, "update_engine_client: no update waits for a reboot\n", complaint)

	for _, args := range [][]string{nil, {"status"}, {"-status", "-update"}, {"-what"}, {"-"}, {""}} {
		code, _, complaint := run(&engine{}, args...)
		assert.Equal(t, 2, code, "%q", args)
		assert.Contains(t, complaint, "usage: update_engine_client -ACTION\n")
	}
}
