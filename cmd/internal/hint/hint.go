// Package hint attaches to an error what the user can type next. The error
// text stays one line of subject and fact; the hint is shown below it.
package hint

import (
	"errors"
	"fmt"
)

type hinted struct {
	error
	hint string
}

func (h *hinted) Unwrap() error { return h.error }

// Hint is what the user can type next.
func (h *hinted) Hint() string { return h.hint }

// Add attaches a hint to an error that has none yet. A nil error stays nil.
func Add(err error, format string, args ...any) error {
	if err == nil || Of(err) != "" {
		return err
	}
	return &hinted{err, fmt.Sprintf(format, args...)}
}

// Of gives the hint of an error, "" if it has none: one attached by Add, else
// what the error's own method Hint says.
func Of(err error) string {
	if h, ok := errors.AsType[interface {
		error
		Hint() string
	}](err); ok {
		return h.Hint()
	}
	return ""
}

// Usage marks an error as wrong use of the command line: exit status 2.
type Usage struct{ Text string }

func (u *Usage) Error() string { return u.Text }

// Usagef makes a usage error.
func Usagef(format string, args ...any) error { return &Usage{fmt.Sprintf(format, args...)} }
