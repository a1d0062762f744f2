package store

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// Writer writes one file of known digest and size. What is written stays behind
// as a partial file if the Writer is closed before Commit, and the next Create
// for that digest goes on from there.
type Writer struct {
	store  *Store
	file   *os.File
	hash   hash.Hash
	sum    Sum
	size   int64
	offset int64
	done   bool
}

// lockPoll is how often Create looks whether another writer has finished.
const lockPoll = 50 * time.Millisecond

// Create starts or resumes writing the file with this digest and size. If
// another goroutine or process is writing it, Create waits. The error is
// ErrExists if the file is there by then. The caller must Close the Writer.
func (s *Store) Create(ctx context.Context, sum Sum, size int64) (*Writer, error) {
	path := filepath.Join(s.dir, partialDir, sum.String())
	for {
		if s.Has(sum) {
			return nil, ErrExists
		}
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
		if err != nil {
			return nil, fmt.Errorf("store: %w", diskError(s.dir, size, err))
		}
		locked, err := tryLock(f, path)
		if err == nil && locked {
			w := &Writer{store: s, file: f, hash: sha256.New(), sum: sum, size: size}
			if err := w.resume(); err != nil {
				f.Close()
				return nil, err
			}
			return w, nil
		}
		f.Close()
		if err != nil {
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(lockPoll):
		}
	}
}

// tryLock takes the lock unless another has it, or the path has become another
// file since it was opened.
func tryLock(f *os.File, path string) (bool, error) {
	err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	mine, err := f.Stat()
	if err != nil {
		return false, err
	}
	there, err := os.Lstat(path)
	return err == nil && os.SameFile(mine, there), nil
}

// resume hashes what an earlier Writer left.
func (w *Writer) resume() error {
	n, err := io.Copy(w.hash, io.LimitReader(w.file, w.size+1))
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	w.offset = n
	if n > w.size {
		return w.Reset()
	}
	return nil
}

// Offset is how many bytes are there already: where to go on.
func (w *Writer) Offset() int64 { return w.offset }

// Reset throws away what is there and starts from the first byte.
func (w *Writer) Reset() error {
	w.hash.Reset()
	w.offset = 0
	if err := w.file.Truncate(0); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	_, err := w.file.Seek(0, io.SeekStart)
	return err
}

// Write appends. More bytes than the size are a MismatchError, and the partial
// file is gone then.
func (w *Writer) Write(p []byte) (int, error) {
	if w.offset+int64(len(p)) > w.size {
		w.discard()
		return 0, &MismatchError{WantSize: w.size, Size: w.offset + int64(len(p))}
	}
	n, err := w.file.Write(p)
	w.hash.Write(p[:n])
	w.offset += int64(n)
	return n, diskError(w.store.dir, w.size, err)
}

// Commit checks size and digest and gives the file its name. A bad one is
// removed: the error is a MismatchError then, and nothing is left to resume.
func (w *Writer) Commit() error {
	if w.done {
		return errors.New("internal error: store: commit after the end")
	}
	var got Sum
	w.hash.Sum(got[:0])
	if w.offset != w.size || got != w.sum {
		w.discard()
		return &MismatchError{WantSize: w.size, Size: w.offset, Want: w.sum, Got: got}
	}
	// Without the sync a power cut could leave the name without the content.
	if err := w.file.Sync(); err != nil {
		return fmt.Errorf("store: %w", diskError(w.store.dir, w.size, err))
	}
	if err := w.store.install(w.file.Name(), w.sum); err != nil {
		return fmt.Errorf("store: %w", diskError(w.store.dir, w.size, err))
	}
	w.done = true
	return nil
}

// discard removes the partial file while the lock is still held.
func (w *Writer) discard() {
	if !w.done {
		os.Remove(w.file.Name())
		w.done = true
	}
}

// Close releases the file. Without a Commit what was written stays for the next
// Create; an empty file goes.
func (w *Writer) Close() error {
	if w.offset == 0 {
		w.discard()
	}
	w.done = true
	return w.file.Close()
}

// Put copies a stream of known digest and size into the store; it cannot be
// resumed. If the store has the file already nothing is read.
func (s *Store) Put(sum Sum, size int64, r io.Reader) error {
	if s.Has(sum) {
		return nil
	}
	return s.add(r, size+1, size, func(got Sum, n int64) error {
		if n != size || got != sum {
			return &MismatchError{WantSize: size, Size: n, Want: sum, Got: got}
		}
		return nil
	})
}

// Add copies a stream of at most limit bytes into the store and returns its
// digest and size.
func (s *Store) Add(r io.Reader, limit int64) (Sum, int64, error) {
	var sum Sum
	var size int64
	err := s.add(r, limit+1, 0, func(got Sum, n int64) error {
		if n > limit {
			return fmt.Errorf("store: content is larger than the limit of %d bytes", limit)
		}
		sum, size = got, n
		return nil
	})
	return sum, size, err
}

// add writes a temporary file and installs it if check agrees.
func (s *Store) add(r io.Reader, limit, need int64, check func(Sum, int64) error) (err error) {
	f, err := os.CreateTemp(filepath.Join(s.dir, partialDir), "tmp-")
	if err != nil {
		return fmt.Errorf("store: %w", diskError(s.dir, need, err))
	}
	defer f.Close()
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	h := sha256.New()
	n, err := io.CopyBuffer(io.MultiWriter(f, h), io.LimitReader(r, limit), make([]byte, 256<<10))
	if err != nil {
		return diskError(s.dir, need, err)
	}
	var got Sum
	h.Sum(got[:0])
	if err := check(got, n); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("store: %w", diskError(s.dir, need, err))
	}
	if err := s.install(f.Name(), got); err != nil {
		return fmt.Errorf("store: %w", diskError(s.dir, need, err))
	}
	return nil
}
