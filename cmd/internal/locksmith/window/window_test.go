package window_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/cmd/internal/locksmith/window"
)

func TestProblems(t *testing.T) {
	const timeOfDay = "is not a time of day from 0:00 to 23:59"
	for _, c := range []struct{ start, length, want string }{
		{"25:00", "1h", `start "25:00": "25:00" ` + timeOfDay},
		{"24:00", "1h", `start "24:00": "24:00" ` + timeOfDay},
		{"23:61", "1h", `start "23:61": "23:61" ` + timeOfDay},
		{"14", "1h", `start "14": "14" ` + timeOfDay},
		{"sat", "1h", `start "sat": "sat" ` + timeOfDay},
		{"+1:00", "1h", `start "+1:00": "+1:00" ` + timeOfDay},
		{"14:000", "1h", `start "14:000": "14:000" ` + timeOfDay},
		{"foo 14:00", "1h", `start "foo 14:00": "foo" is not one of Sun, Mon, Tue, Wed, Thu, Fri, Sat`},
		{"sat 14:00 1234", "1h", `start "sat 14:00 1234" is not a time such as 14:00 or Thu 23:00`},
		{"", "1h", `start "" is not a time such as 14:00 or Thu 23:00`},
		{"sat 14:00", "1j", `length "1j" is not a time such as 1h30m`},
		{"sat 14:00", "-1h", `length -1h0m0s: want more than 0 and less than 168h0m0s`},
		{"14:00", "0s", `length 0s: want more than 0 and less than 24h0m0s`},
		{"sat 14:00", "168h", `length 168h0m0s: want more than 0 and less than 168h0m0s`},
	} {
		w, err := window.Parse(c.start, c.length)
		assert.EqualError(t, err, c.want)
		assert.Nil(t, w)
	}
}

func at(t testing.TB, text string) time.Time {
	when, err := time.Parse("Mon 2006-01-02 15:04:05", text)
	require.NoError(t, err)
	return when
}

func TestAt(t *testing.T) {
	for _, c := range []struct {
		name, start, length, now string
		want                     string // start and end of the span
		wait                     time.Duration
	}{
		{"daily, later", "00:15", "10s", "Thu 2026-05-21 00:00:00", "Thu 2026-05-21 00:15:00 to 00:15:10", 15 * time.Minute},
		{"daily, now", "00:00", "1h", "Thu 2026-05-21 00:00:00", "Thu 2026-05-21 00:00:00 to 01:00:00", 0},
		{"daily, open", "00:00", "1h", "Thu 2026-05-21 00:59:59", "Thu 2026-05-21 00:00:00 to 01:00:00", 0},
		{"daily, over", "02:33", "10h", "Thu 2026-05-21 12:33:00", "Fri 2026-05-22 02:33:00 to 12:33:00", 14 * time.Hour},
		{"daily, since yesterday", "23:05", "11h", "Thu 2026-05-21 09:33:01", "Wed 2026-05-20 23:05:00 to 10:05:00", 0},
		{"weekly, later", "Thu 23:00", "1h30m", "Thu 2026-05-21 22:00:00", "Thu 2026-05-21 23:00:00 to 00:30:00", time.Hour},
		{"weekly, open after midnight", "thu 23:00", "1h30m", "Fri 2026-05-22 00:29:59", "Thu 2026-05-21 23:00:00 to 00:30:00", 0},
		{"weekly, over", "THU 23:00", "1h30m", "Fri 2026-05-22 00:30:00", "Thu 2026-05-28 23:00:00 to 00:30:00", 166*time.Hour + 30*time.Minute},
		{"weekly, since last week", "Sat 23:05", "11h", "Sun 2026-05-24 09:33:01", "Sat 2026-05-23 23:05:00 to 10:05:00", 0},
		{"weekly, almost all the time", "Mon 00:00", "167h", "Sun 2026-05-31 22:59:59", "Mon 2026-05-25 00:00:00 to 23:00:00", 0},
		{"weekly, over the end of a month", "Mon 9:00", "1h", "Sat 2026-05-30 23:00:00", "Mon 2026-06-01 09:00:00 to 10:00:00", 34 * time.Hour},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, err := window.Parse(c.start, c.length)
			require.NoError(t, err)
			now := at(t, c.now)
			span, ok := w.At(now)
			require.True(t, ok)
			assert.Equal(t, c.want, span.Start.Format("Mon 2006-01-02 15:04:05")+span.End.Format(" to 15:04:05"))
			assert.Equal(t, c.wait, span.Wait(now))
		})
	}
}

// The window is a time of the wall clock, on days with another length too.
func TestSummerTime(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	w, err := window.Parse("Sun 04:00", "1h")
	require.NoError(t, err)
	for _, day := range []string{"2026-03-29", "2026-10-25"} {
		now, err := time.ParseInLocation("2006-01-02 15:04", day+" 00:00", berlin)
		require.NoError(t, err)
		span, _ := w.At(now)
		assert.Equal(t, day+" 04:00", span.Start.Format("2006-01-02 15:04"))
	}
}

func TestNever(t *testing.T) {
	w := new(window.Window)
	assert.True(t, w.Never())
	_, ok := w.At(at(t, "Thu 2026-05-21 00:00:00"))
	assert.False(t, ok)
	assert.Equal(t, "never", w.String())
}

// FuzzParse: what is taken has a span at all times, which the time is in or
// before, and is read again from its own text.
func FuzzParse(f *testing.F) {
	f.Add("Thu 23:00", "1h30m", int64(1_779_321_600))
	f.Add("0:00", "23h59m59s", int64(0))
	f.Add("sun 23:59", "167h", int64(-1))
	f.Fuzz(func(t *testing.T, start, length string, unix int64) {
		w, err := window.Parse(start, length)
		if err != nil {
			return
		}
		now := time.Unix(unix%(1<<36), 0).UTC()
		span, ok := w.At(now)
		require.True(t, ok)
		assert.True(t, span.End.After(now))
		assert.LessOrEqual(t, span.Wait(now), 7*24*time.Hour)
	})
}
