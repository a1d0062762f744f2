package updateconf

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// parseDuration reads a time span as systemd writes them (systemd.time(7)):
// numbers with units, added up; a number without a unit is seconds. More than
// the limit is a slip of the pen, not a wish.
func parseDuration(text string, limit time.Duration) (time.Duration, error) {
	total := time.Duration(0)
	rest := strings.TrimSpace(text)
	for first := true; first || rest != ""; first = false {
		digits := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' })
		if digits < 0 {
			digits = len(rest)
		}
		n, err := strconv.ParseInt(rest[:digits], 10, 32)
		if err != nil {
			return 0, fmt.Errorf("%.80q is not a time such as 45s or 10min", text)
		}
		rest = strings.TrimLeft(rest[digits:], " ")
		word := strings.IndexFunc(rest, func(r rune) bool { return r < 'a' || r > 'z' })
		if word < 0 {
			word = len(rest)
		}
		unit, ok := unitOf(rest[:word])
		if !ok {
			return 0, fmt.Errorf("%.80q is not a time such as 45s or 10min", text)
		}
		if n > int64(limit/unit) {
			return 0, fmt.Errorf("%.80q is more than %s", text, limit)
		}
		total += time.Duration(n) * unit
		rest = strings.TrimLeft(rest[word:], " ")
	}
	if total > limit {
		return 0, fmt.Errorf("%.80q is more than %s", text, limit)
	}
	return total, nil
}

func unitOf(word string) (time.Duration, bool) {
	switch word {
	case "", "s", "sec", "second", "seconds":
		return time.Second, true
	case "ms", "msec":
		return time.Millisecond, true
	case "m", "min", "minute", "minutes":
		return time.Minute, true
	case "h", "hr", "hour", "hours":
		return time.Hour, true
	case "d", "day", "days":
		return 24 * time.Hour, true
	}
	return 0, false
}
