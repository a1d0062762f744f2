package report_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/cmd/internal/report"
)

// clock moves on by a second whenever it is read.
func clock() func() time.Time {
	now := time.Unix(0, 0)
	return func() time.Time {
		now = now.Add(time.Second)
		return now
	}
}

func work(r *report.Report) {
	step := r.Step("download")
	step.Progress(1, 2)
	step.Done("2 files")
	r.Warn("the moon is %s", "full")
	step = r.LoggedStep("slot")
	step.Count(1, 1)
	step.Done("big enough")
	r.Result(map[string]string{"release": "out/1"})
	r.Close()
}

func TestPlainIsALineAStep(t *testing.T) {
	var out bytes.Buffer
	r := report.New(&out, report.Plain, clock())
	work(r)
	assert.Equal(t, "download   2 files (1.0 s)\nwarning: the moon is full\nslot       big enough (1.0 s)\n", out.String())
	assert.Equal(t, []string{"slot       big enough"}, r.Log())
}

func TestJSONIsAnObjectALine(t *testing.T) {
	var out bytes.Buffer
	work(report.New(&out, report.JSON, clock()))
	var events []string
	for line := range strings.Lines(out.String()) {
		var e report.Event
		require.NoError(t, json.Unmarshal([]byte(line), &e))
		events = append(events, strings.TrimSpace(e.Event+" "+e.Step+" "+e.Text))
	}
	assert.Equal(t, []string{
		"step download", "progress download", "done download 2 files", "warning  the moon is full",
		"step slot", "progress slot", "done slot big enough", "result",
	}, events)
}

func TestTerminalKeepsTheLines(t *testing.T) {
	var out bytes.Buffer
	work(report.New(&out, report.Terminal, clock()))
	assert.Contains(t, out.String(), "download   2 files")
	assert.Contains(t, out.String(), "warning: the moon is full")
}
