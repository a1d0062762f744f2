// Package download reads one file from HTTP servers as a stream that outlives
// connections: where one breaks, or is too slow to be alive, the next goes on
// at the same byte, by a range request if the server knows them.
//
// It says nothing about what the bytes mean: the reader has to check them. It
// keeps nothing on disk; whoever wants to go on after a restart opens the
// stream at the offset it had come to.
package download

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// File is what is read, and how patiently.
type File struct {
	// Client sends the requests; see [NewClient].
	Client *http.Client
	// URLs are places of the same file, tried in turn.
	URLs []string
	// Size is that of the file in bytes. A server with another size is refused.
	Size int64
	// ETag, if set, is that of the file when it was read before. A server that
	// has another one now is refused: the halves would not fit.
	ETag string

	// Patience bounds waiting; the zero value is [DefaultPatience].
	Patience Patience
	// Sleep waits; it returns early if the context ends.
	Sleep func(context.Context, time.Duration)
	// Random gives numbers from 0 to 1, for waiting times.
	Random func() float64
	// Log, if set, is told of every interruption.
	Log func(format string, args ...any)
}

// Patience says what counts as too slow and how often is too often.
type Patience struct {
	// Failures is how many connections in a row may fail without a byte
	// having come.
	Failures int
	// PerURL is how many of those one URL may have before the next is tried.
	PerURL int
	// First and Last are the waiting times after the first failure and the
	// longest, between which they double.
	First, Last time.Duration
	// Window is how long it may take until MinBytes have come.
	Window   time.Duration
	MinBytes int64
}

// DefaultPatience gives up on a server after about a quarter of an hour, and on
// a connection that brings less than 1 KiB a second over a minute.
var DefaultPatience = Patience{
	Failures: 20, PerURL: 5, First: time.Second, Last: time.Minute,
	Window: time.Minute, MinBytes: 60 << 10,
}

// StatusError is a server's refusal.
type StatusError struct {
	URL        string
	Code       int
	RetryAfter time.Duration // what the server asks for, 0 if nothing
}

// Error names the status.
func (e *StatusError) Error() string {
	return fmt.Sprintf("%s: %d %s", e.URL, e.Code, http.StatusText(e.Code))
}

// permanent says that asking again the same way would change nothing.
func (e *StatusError) permanent() bool {
	return e.Code >= 400 && e.Code < 500 && e.Code != http.StatusRequestTimeout && e.Code != http.StatusTooManyRequests
}

// SizeError is a server that has a file of another size, or another file.
type SizeError struct {
	URL       string
	Want, Got int64
}

// Error gives both sizes.
func (e *SizeError) Error() string {
	return fmt.Sprintf("%s: %d bytes, should be %d", e.URL, e.Got, e.Want)
}

// ErrChanged is wrapped when the server's file is not the one that was read
// before.
var ErrChanged = errors.New("the file has changed on the server")

// ErrSlow is wrapped when a connection brought too little for too long.
var ErrSlow = errors.New("too slow to go on")

// Stream is an open file. Read returns io.EOF after Size bytes, and an error
// only when patience is at an end. It is not for use by several goroutines.
type Stream struct {
	f      *File
	ctx    context.Context
	offset int64 // of the next byte
	etag   string

	conn     *connection // nil between two
	url      int         // in f.URLs
	failures int         // in a row, without a byte
	perURL   int
	received int64 // over all connections, for those who count
}

// Open prepares to read from an offset on. Nothing is sent before the first
// Read.
func (f *File) Open(ctx context.Context, offset int64) *Stream {
	if f.Patience == (Patience{}) {
		f.Patience = DefaultPatience
	}
	return &Stream{f: f, ctx: ctx, offset: offset, etag: f.ETag}
}

// ETag is the server's name for the version of the file that is being read, ""
// if it gives none.
func (s *Stream) ETag() string { return s.etag }

// Received is how many bytes have come over all connections, those that were
// read a second time included.
func (s *Stream) Received() int64 { return s.received }

// Read implements io.Reader.
func (s *Stream) Read(p []byte) (int, error) {
	for {
		if s.offset >= s.f.Size {
			return 0, io.EOF
		}
		if len(p) == 0 {
			return 0, nil
		}
		n, err := s.attempt(p)
		if n > 0 {
			s.offset += int64(n)
			s.failures, s.perURL = 0, 0
			return n, nil
		}
		if err := s.fail(err); err != nil {
			return 0, err
		}
	}
}

// attempt reads from the connection there is, or a new one.
func (s *Stream) attempt(p []byte) (int, error) {
	if s.conn == nil {
		c, err := s.connect()
		if err != nil {
			return 0, err
		}
		s.conn = c
	}
	p = p[:min(int64(len(p)), s.f.Size-s.offset)]
	n, err := s.conn.Read(p)
	s.received += int64(n)
	if n == 0 && err == nil {
		err = io.ErrNoProgress
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
		if s.conn.framed {
			err = &SizeError{URL: s.f.URLs[s.url], Want: s.f.Size, Got: s.offset + int64(n)}
		}
	}
	return n, err
}

// fail ends a connection and waits, or gives up.
func (s *Stream) fail(err error) error {
	s.Close()
	if s.ctx.Err() != nil {
		return context.Cause(s.ctx)
	}
	s.failures++
	s.perURL++
	refused, isStatus := errors.AsType[*StatusError](err)
	_, isSize := errors.AsType[*SizeError](err)
	hopeless := isSize || errors.Is(err, ErrChanged) || isStatus && refused.permanent()
	if hopeless || s.perURL >= s.f.Patience.PerURL {
		if s.url+1 < len(s.f.URLs) {
			s.url++
			s.perURL = 0
		} else if hopeless {
			return err
		}
	}
	if s.failures >= s.f.Patience.Failures {
		return fmt.Errorf("given up after %d failures: %w", s.failures, err)
	}
	pause := s.pause()
	if isStatus {
		pause = max(pause, min(refused.RetryAfter, 10*time.Minute))
	}
	if s.f.Log != nil {
		s.f.Log("download interrupted at %d of %d bytes: %v; going on in %s",
			s.offset, s.f.Size, err, pause.Round(time.Millisecond))
	}
	s.f.Sleep(s.ctx, pause)
	if s.ctx.Err() != nil {
		return context.Cause(s.ctx)
	}
	return nil
}

// pause is how long to wait after the failures so far: twice as long after
// each, by a quarter more or less.
func (s *Stream) pause() time.Duration {
	d := s.f.Patience.Last
	if n := s.failures - 1; n < 16 {
		d = min(d, s.f.Patience.First<<n)
	}
	return time.Duration(float64(d) * (0.75 + s.f.Random()/2))
}

// Close ends the connection, if there is one. The stream can be read on.
func (s *Stream) Close() error {
	if s.conn != nil {
		s.conn.close()
		s.conn = nil
	}
	return nil
}
