package server

import (
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"time"
)

const (
	// stalled is how long a client may take for the next piece of a payload.
	// One that hangs or takes a byte at a time does not keep a connection.
	stalled = time.Minute
	// piece is how much is sent at a time, in bytes: 8 KiB a second is the
	// least a client must take.
	piece = 512 << 10
)

// files serves the files of releases, ranges included. Directories are not
// listed; links lead nowhere outside.
func (s *Server) files() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f, err := s.root.Open(r.URL.Path)
		if err != nil {
			http.NotFound(w, r)
			return
		}
		defer f.Close()
		st, err := f.Stat()
		if err != nil || !st.Mode().IsRegular() {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/octet-stream")
		// A payload of another build under the same name must not be joined
		// to the first half of this one.
		w.Header().Set("ETag", fmt.Sprintf(`"%x-%x"`, st.ModTime().UnixNano(), st.Size()))
		http.ServeContent(&sender{w, http.NewResponseController(w), s}, r, "", st.ModTime(), f)
	})
}

// sender sends a file piece by piece, counts the bytes and gives up on clients
// that do not take them. It keeps the way open for the kernel to copy.
type sender struct {
	http.ResponseWriter
	control *http.ResponseController
	server  *Server
}

// ReadFrom is what http.ServeContent calls, with a part of the file.
func (s *sender) ReadFrom(r io.Reader) (total int64, err error) {
	part, ok := r.(*io.LimitedReader)
	if !ok {
		part = &io.LimitedReader{R: r, N: math.MaxInt64}
	}
	for part.N > 0 {
		if err := s.deadline(); err != nil {
			return total, err
		}
		want := min(part.N, piece)
		n, err := io.Copy(s.ResponseWriter, &io.LimitedReader{R: part.R, N: want})
		total, part.N = total+n, part.N-n
		s.server.metrics.bytes.AddInt64(n)
		if err != nil || n < want {
			return total, err
		}
	}
	return total, nil
}

// Write sends what comes otherwise.
func (s *sender) Write(b []byte) (int, error) {
	if err := s.deadline(); err != nil {
		return 0, err
	}
	n, err := s.ResponseWriter.Write(b)
	s.server.metrics.bytes.Add(n)
	return n, err
}

// deadline lets the next piece take its time. Connections that know no
// deadlines, as in tests, go without.
func (s *sender) deadline() error {
	err := s.control.SetWriteDeadline(time.Now().Add(stalled))
	if err == nil || errors.Is(err, http.ErrNotSupported) {
		return nil
	}
	return err
}
