package release_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/cmd/internal/release"
)

func info(channel string) *release.Info {
	return &release.Info{
		Format: 1, Name: "slipway", Version: "1.0.0", Channel: channel,
		Files: []release.Entry{
			{Name: release.Disk, Chunks: "disk of " + channel}, {Name: release.Slot, SHA256: "slot"},
			{Name: release.Payload, SHA256: "payload"},
		},
	}
}

func passed(i *release.Info, cases ...release.Case) release.Run {
	return release.Run{By: "slipway test", Channel: i.Channel, Files: i.Digests(), Cases: cases}
}

func TestEvidenceIsAboutTheseBytes(t *testing.T) {
	alpha := info("alpha")
	a, b := release.Case{Name: "a", Result: release.Passed}, release.Case{Name: "b", Result: release.Passed}
	e := (*release.Evidence)(nil).Add(alpha, passed(alpha, a))
	e = e.Add(alpha, passed(alpha, b, release.Case{Name: "c", Result: release.Skipped}))
	required := []string{"a", "b"}
	n, err := e.Check(alpha, required)
	require.NoError(t, err)
	assert.Equal(t, 2, n)
	_, err = e.Check(info("beta"), required)
	assert.NoError(t, err, "promoted: the disk image differs in the channel")

	for name, spoil := range map[string]func(*release.Info){
		"slot":           func(i *release.Info) { i.Files[1].SHA256 = "other" },
		"payload":        func(i *release.Info) { i.Files[2].SHA256 = "other" },
		"disk":           func(i *release.Info) { i.Files[0].Chunks = "other" },
		"one file more":  func(i *release.Info) { i.Files = append(i.Files, release.Entry{Name: "x", SHA256: "x"}) },
		"no slot at all": func(i *release.Info) { i.Files = i.Files[:1] },
		"version":        func(i *release.Info) { i.Version = "1.0.1" },
		"name":           func(i *release.Info) { i.Name = "other" },
	} {
		other := info("alpha")
		spoil(other)
		_, err := e.Check(other, required)
		assert.EqualError(t, err, "evidence.json: not passed on these bytes: a, b", name)
		assert.Len(t, e.Add(other, passed(other, a)).Runs, 1, "what is said of other bytes is left out")
	}
}

func TestTheLastResultCounts(t *testing.T) {
	alpha := info("alpha")
	var e *release.Evidence
	for _, c := range []struct {
		result release.Result
		want   string
	}{
		{release.Passed, ""},
		{release.Failed, "evidence.json: failed: a"},
		{release.Skipped, "evidence.json: failed: a"},
		{release.Passed, ""},
	} {
		e = e.Add(alpha, passed(alpha, release.Case{Name: "a", Result: c.result}))
		_, err := e.Check(alpha, nil)
		if c.want == "" {
			assert.NoError(t, err)
		} else {
			assert.EqualError(t, err, c.want)
		}
	}
	_, err := e.Check(alpha, []string{"p", "q", "a", "r", "s"})
	assert.EqualError(t, err, "evidence.json: not passed on these bytes: p, q, r and 1 more")
}

func TestEvidenceThatMakesNoSense(t *testing.T) {
	for want, e := range map[string]*release.Evidence{
		"evidence: format 0, want 1":                 {},
		"evidence: a run of 0 cases, want 1 to 5000": {Format: 1, Runs: make([]release.Run, 1)},
		"evidence: 101 runs, want at most 100":       {Format: 1, Runs: make([]release.Run, 101)},
		`evidence: case "a": result "ok": neither pass, fail nor skip`: {
			Format: 1, Runs: []release.Run{{Cases: []release.Case{{Name: "a", Result: "ok"}}}},
		},
	} {
		_, err := release.NewEvidence(e)
		assert.EqualError(t, err, want)
	}
}
