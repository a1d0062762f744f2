package testlog_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/cmd/internal/release"
	"slipway/cmd/internal/testlog"
)

const stream = `
{"Time":"2026-11-20T10:00:00Z","Action":"start","Package":"slipway/qemu-tests"}
{"Time":"2026-11-20T10:00:01Z","Action":"run","Package":"slipway/qemu-tests","Test":"TestBIOS"}
{"Time":"2026-11-20T10:00:01Z","Action":"output","Package":"slipway/qemu-tests","Test":"TestBIOS","Output":"=== RUN   TestBIOS\n"}
{"Time":"2026-11-20T10:00:01Z","Action":"run","Package":"slipway/qemu-tests","Test":"TestBIOS/beta"}
{"Time":"2026-11-20T10:00:02Z","Action":"pass","Package":"slipway/qemu-tests","Test":"TestBIOS/beta","Elapsed":1.5}
{"Time":"2026-11-20T10:00:02Z","Action":"pass","Package":"slipway/qemu-tests","Test":"TestBIOS","Elapsed":1.5}
{"Time":"2026-11-20T10:00:02Z","Action":"run","Package":"slipway/qemu-tests","Test":"TestUpdate"}
{"Time":"2026-11-20T10:00:02Z","Action":"run","Package":"slipway/qemu-tests","Test":"TestUpdate/beta"}
{"Time":"2026-11-20T10:00:02Z","Action":"run","Package":"slipway/qemu-tests","Test":"TestUpdate/beta/good"}
{"Time":"2026-11-20T10:00:03Z","Action":"run","Package":"slipway/qemu-tests","Test":"TestUpdate/beta/cut-off"}
{"Time":"2026-11-20T10:00:03Z","Action":"skip","Package":"slipway/qemu-tests","Test":"TestUpdate/beta/skipped"}
{"Time":"2026-11-20T10:00:04Z","Action":"fail","Package":"slipway/qemu-tests","Test":"TestUpdate/beta/good","Elapsed":2}
{"Action":"fail","Package":"slipway/qemu-tests"}
`

func TestRead(t *testing.T) {
	var shown strings.Builder
	r, err := testlog.Read(strings.NewReader(stream), "beta", &shown)
	require.NoError(t, err)
	assert.Equal(t, "=== RUN   TestBIOS\n", shown.String())
	assert.Equal(t, time.Date(2026, 11, 20, 10, 0, 4, 0, time.UTC), r.End)
	assert.Equal(t, []release.Case{
		{Name: "TestBIOS", Result: release.Passed, Seconds: 1.5},
		{Name: "TestUpdate/cut-off", Result: release.Failed},
		{Name: "TestUpdate/good", Result: release.Failed, Seconds: 2},
		{Name: "TestUpdate/skipped", Result: release.Skipped},
		{Name: "slipway/qemu-tests", Result: release.Failed},
	}, r.Cases)
}

func TestReadTheLeast(t *testing.T) {
	r, err := testlog.Read(strings.NewReader(`{"Action":"fail","Test":"lab/power"}`+"\n"+`{"Action":"pass","Test":"lab/power"}`), "beta", nil)
	require.NoError(t, err)
	assert.Equal(t, []release.Case{{Name: "lab/power", Result: release.Passed}}, r.Cases)
	assert.True(t, r.End.IsZero())
}

func TestReadRefuses(t *testing.T) {
	var many strings.Builder
	for i := range 5001 {
		fmt.Fprintf(&many, `{"Action":"pass","Test":"%d"}`+"\n", i)
	}
	for text, want := range map[string]string{
		"":                         "no test in it",
		"{}\n":                     "no test in it",
		"{}\n\nok slipway\n":       "line 3: no event of go test -json: invalid character 'o' looking for beginning of value",
		many.String():              "line 5001: more than 5000 tests",
		strings.Repeat("x", 5<<20): "bufio.Scanner: token too long",
	} {
		_, err := testlog.Read(strings.NewReader(text), "beta", nil)
		assert.EqualError(t, err, want)
	}
}

func FuzzRead(f *testing.F) {
	f.Add(stream)
	f.Add(`{"Action":"pass","Test":"//"}`)
	f.Fuzz(func(t *testing.T, text string) {
		r, err := testlog.Read(strings.NewReader(text), "beta", nil)
		if err != nil {
			return
		}
		_, err = release.NewEvidence((*release.Evidence)(nil).Add(&release.Info{}, release.Run{Cases: r.Cases}))
		require.NoError(t, err)
	})
}
