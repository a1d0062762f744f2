package health

import (
	"time"

	"slipway/cmd/internal/updateconf"
)

// ParseUnits shows parseUnits to tests.
func ParseUnits(text []byte) []Unit { return parseUnits(text) }

// PropertyNames shows properties to tests.
func PropertyNames() string { return properties() }

// Judge assesses units and judges them; the result is readable.
func Judge(units []Unit, now time.Duration, c *updateconf.Config) (text string, start, skipped []string) {
	a := assess(units)
	v := judge(a, now, c)
	text = string(v.Phase)
	if v.Reason != "" {
		text += ": " + v.Reason
	}
	if v.Until > 0 {
		text += " (until " + v.Until.String() + ")"
	}
	return text, a.Start, a.Skipped
}
