package resolver

import "strings"

// Compare orders two Debian versions: negative if a is older than b, zero if
// they are equal, positive if a is newer. Any string has a place in the order.
//
// Rules: https://www.debian.org/doc/debian-policy/ch-controlfields.html#version
func Compare(a, b string) int {
	epochA, restA := cutEpoch(a)
	epochB, restB := cutEpoch(b)
	if c := compareNumbers(epochA, epochB); c != 0 {
		return c
	}
	upstreamA, revisionA := cutRevision(restA)
	upstreamB, revisionB := cutRevision(restB)
	if c := comparePart(upstreamA, upstreamB); c != 0 {
		return c
	}
	return comparePart(revisionA, revisionB)
}

// cutEpoch splits "1:2-3" at the first colon if there are only digits in front.
func cutEpoch(v string) (epoch, rest string) {
	before, after, ok := strings.Cut(v, ":")
	if !ok || strings.TrimLeft(before, "0123456789") != "" {
		return "", v
	}
	return before, after
}

// cutRevision splits at the last hyphen. No revision is as good as revision 0.
func cutRevision(v string) (upstream, revision string) {
	if i := strings.LastIndexByte(v, '-'); i >= 0 {
		return v[:i], v[i+1:]
	}
	return v, ""
}

// comparePart compares by turns a stretch of non-digits and one of digits.
func comparePart(a, b string) int {
	for a != "" || b != "" {
		i, j := 0, 0
		for i < len(a) && !digit(a[i]) || j < len(b) && !digit(b[j]) {
			if c := weight(a, i) - weight(b, j); c != 0 {
				return c
			}
			i++
			j++
		}
		a, b = a[min(i, len(a)):], b[min(j, len(b)):]
		i, j = digits(a), digits(b)
		if c := compareNumbers(a[:i], b[:j]); c != 0 {
			return c
		}
		a, b = a[i:], b[j:]
	}
	return 0
}

// weight orders the characters outside of numbers: a tilde before the end, then
// letters, then the rest.
func weight(s string, i int) int {
	switch {
	case i >= len(s) || digit(s[i]):
		return 0
	case s[i] == '~':
		return -1
	case s[i] >= 'a' && s[i] <= 'z', s[i] >= 'A' && s[i] <= 'Z':
		return int(s[i])
	}
	return int(s[i]) + 256
}

func digit(c byte) bool { return c >= '0' && c <= '9' }

// digits is the length of the number in front of s.
func digits(s string) int {
	n := 0
	for n < len(s) && digit(s[n]) {
		n++
	}
	return n
}

// compareNumbers compares numbers of any length; none is zero.
func compareNumbers(a, b string) int {
	a, b = strings.TrimLeft(a, "0"), strings.TrimLeft(b, "0")
	if len(a) != len(b) {
		return len(a) - len(b)
	}
	return strings.Compare(a, b)
}
