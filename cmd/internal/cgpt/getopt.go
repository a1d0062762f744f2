package cgpt

import (
	"errors"
	"math"
	"strconv"
	"strings"
)

// options goes through arguments as getopt(3) of glibc does: options may be
// joined ("-nq"), take the rest of their word or the next one as argument,
// and may follow the other arguments; "--" ends them.
type options struct {
	r *run
	// spec names the options, each followed by ':' if it takes an argument.
	spec string
	// usage prints what is shown after an error, and help, if set, for -h.
	usage, help func()
	// set handles option c; it reports errors itself and returns how many.
	set func(c byte, arg string) int
}

// parse returns the arguments that are not options. With done, the command
// is over and code is its exit code.
func (o options) parse(args []string) (rest []string, code int, done bool) {
	bad := 0
	for i := 0; i < len(args); i++ {
		word := args[i]
		if word == "--" {
			rest = append(rest, args[i+1:]...)
			break
		}
		if len(word) < 2 || word[0] != '-' {
			rest = append(rest, word)
			continue
		}
		for j := 1; j < len(word); j++ {
			c := word[j]
			at := strings.IndexByte(o.spec, c)
			switch {
			case c == 'h':
				if o.help != nil {
					o.help()
				} else {
					o.usage()
				}
				return nil, 0, true
			case at < 0 || c == ':':
				bad += o.r.errorf("unrecognized option: -%c\n", c)
			case !strings.HasPrefix(o.spec[at+1:], ":"):
				bad += o.set(c, "")
			case j+1 < len(word):
				bad += o.set(c, word[j+1:])
				j = len(word)
			case i+1 < len(args):
				i++
				bad += o.set(c, args[i])
			default:
				bad += o.r.errorf("missing argument to -%c\n", c)
			}
		}
	}
	if bad > 0 {
		o.usage()
		return nil, 1, true
	}
	return rest, 0, false
}

// number parses what strtoull(3) with base 0 accepts whole and sets *to to
// it. It returns the number of errors.
func (r *run) number(c byte, arg string, to *uint64) int {
	n, err := parseNumber(arg)
	if err != nil {
		return r.errorf("invalid argument to -%c: \"%s\"\n", c, arg)
	}
	*to = n
	return 0
}

// limited is number with bounds, inclusive.
func (r *run) limited(c byte, arg string, to *uint64, low, high uint64) int {
	bad := r.number(c, arg, to)
	if bad == 0 && (*to < low || *to > high) {
		// The original prints no line end here.
		bad += r.errorf("value for -%c must be between %d and %d", c, low, high)
	}
	return bad
}

func parseNumber(s string) (uint64, error) {
	s = strings.TrimLeft(s, " \t\n\v\f\r")
	negative := strings.HasPrefix(s, "-")
	s = strings.TrimPrefix(strings.TrimPrefix(s, "-"), "+")
	base := 10
	switch {
	case len(s) > 2 && (s[:2] == "0x" || s[:2] == "0X"):
		base, s = 16, s[2:]
	case len(s) > 1 && s[0] == '0':
		base = 8
	}
	if strings.ContainsAny(s, "+-_") {
		return 0, strconv.ErrSyntax
	}
	n, err := strconv.ParseUint(s, base, 64)
	if errors.Is(err, strconv.ErrRange) {
		return math.MaxUint64, nil
	}
	if negative {
		n = -n
	}
	return n, err
}
