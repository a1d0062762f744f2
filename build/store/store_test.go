package store_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"slipway/build/store"
)

const text = "the content of a file"

var sum = store.Sum(sha256.Sum256([]byte(text)))

func open(t testing.TB) (*store.Store, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "cache", "store")
	s, err := store.Open(dir)
	require.NoError(t, err)
	return s, dir
}

// listing is every file of a store with its mode, without the digests' tails.
func listing(t testing.TB, dir string) string {
	t.Helper()
	var all []string
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		require.NoError(t, err)
		name, err := filepath.Rel(dir, path)
		require.NoError(t, err)
		all = append(all, fmt.Sprintf("%.14s %04o %d", name, info.Mode().Perm(), info.Size()))
		return nil
	}))
	return strings.Join(all, "\n")
}

func read(t testing.TB, s *store.Store, sum store.Sum) string {
	t.Helper()
	f, err := s.OpenFile(sum)
	require.NoError(t, err)
	defer f.Close()
	data, err := io.ReadAll(f)
	require.NoError(t, err)
	return string(data)
}

func TestSum(t *testing.T) {
	parsed, err := store.ParseSum(sum.String())
	require.NoError(t, err)
	assert.Equal(t, sum, parsed)
	out, err := sum.MarshalText()
	require.NoError(t, err)
	var back store.Sum
	require.NoError(t, back.UnmarshalText(out))
	assert.Equal(t, sum, back)
	_, err = store.ParseSum("12")
	require.EqualError(t, err, `sha256 "12": want 64 hex digits, got 2 characters`)
	_, err = store.ParseSum(strings.Repeat("x", 64))
	require.EqualError(t, err, `sha256 "`+strings.Repeat("x", 64)+`": not hexadecimal`)
	_, err = store.ParseSum(strings.Repeat("a", 1<<20))
	require.Less(t, len(err.Error()), 200)
}

func TestWriter(t *testing.T) {
	s, dir := open(t)
	assert.False(t, s.Has(sum))
	_, err := s.OpenFile(sum)
	require.ErrorIs(t, err, fs.ErrNotExist)

	w, err := s.Create(t.Context(), sum, int64(len(text)))
	require.NoError(t, err)
	assert.Zero(t, w.Offset())
	_, err = io.WriteString(w, text[:10])
	require.NoError(t, err)
	require.NoError(t, w.Close())
	assert.False(t, s.Has(sum))
	assert.Equal(t, fmt.Sprintf("partial/%.6s 0644 10", sum), listing(t, dir))

	w, err = s.Create(t.Context(), sum, int64(len(text)))
	require.NoError(t, err)
	assert.EqualValues(t, 10, w.Offset())
	_, err = io.WriteString(w, text[10:])
	require.NoError(t, err)
	require.NoError(t, w.Commit())
	require.NoError(t, w.Close())
	assert.True(t, s.Has(sum))
	assert.Equal(t, text, read(t, s, sum))
	assert.Equal(t, fmt.Sprintf("%.2s/%.11s 0444 %d", sum, sum, len(text)), listing(t, dir))

	_, err = s.Create(t.Context(), sum, int64(len(text)))
	require.ErrorIs(t, err, store.ErrExists)
	require.NoError(t, s.Remove(sum))
	require.NoError(t, s.Remove(sum), "twice is no error")
	assert.False(t, s.Has(sum))
}

func TestWriterRefuses(t *testing.T) {
	for _, c := range []struct{ name, content, wantErr string }{
		{"other content", "The content of a file", fmt.Sprintf("sha256 mismatch: want %s, got %x", sum, sha256.Sum256([]byte("The content of a file")))},
		{"too short", text[:5], "size mismatch: want 21 bytes, got 5"},
		{"too long", text + "x", "size mismatch: want 21 bytes, got 22"},
	} {
		s, dir := open(t)
		w, err := s.Create(t.Context(), sum, int64(len(text)))
		require.NoError(t, err)
		_, err = io.WriteString(w, c.content)
		if err == nil {
			err = w.Commit()
		}
		require.EqualError(t, err, c.wantErr, c.name)
		var mismatch *store.MismatchError
		require.ErrorAs(t, err, &mismatch)
		require.NoError(t, w.Close())
		assert.Empty(t, listing(t, dir), "%s: nothing is left", c.name)
	}
}

func TestWriterResumes(t *testing.T) {
	for _, c := range []struct {
		name, partial string
		offset        int
	}{
		{"nothing", "", 0},
		{"some", text[:7], 7},
		{"all", text, len(text)},
		{"too much", text + "x", 0},
	} {
		s, dir := open(t)
		require.NoError(t, os.WriteFile(filepath.Join(dir, "partial", sum.String()), []byte(c.partial), 0o644))
		w, err := s.Create(t.Context(), sum, int64(len(text)))
		require.NoError(t, err)
		assert.EqualValues(t, c.offset, w.Offset(), c.name)
		_, err = io.WriteString(w, text[c.offset:])
		require.NoError(t, err)
		require.NoError(t, w.Commit())
		require.NoError(t, w.Close())
		assert.Equal(t, text, read(t, s, sum), c.name)
	}
}

func TestWriterReset(t *testing.T) {
	s, dir := open(t)
	w, err := s.Create(t.Context(), sum, int64(len(text)))
	require.NoError(t, err)
	_, err = io.WriteString(w, "wrong")
	require.NoError(t, err)
	require.NoError(t, w.Reset())
	require.NoError(t, w.Close())
	assert.Empty(t, listing(t, dir), "an empty partial is not worth keeping")
}

func TestWritersOfOneFile(t *testing.T) {
	_, dir := open(t)
	var wg sync.WaitGroup
	var mu sync.Mutex
	written := 0
	for range 16 {
		s, err := store.Open(dir) // as another process would
		require.NoError(t, err)
		wg.Go(func() {
			w, err := s.Create(t.Context(), sum, int64(len(text)))
			if errors.Is(err, store.ErrExists) {
				return
			}
			if !assert.NoError(t, err) {
				return
			}
			defer w.Close()
			_, err = io.WriteString(w, text[w.Offset():])
			assert.NoError(t, err)
			time.Sleep(time.Millisecond)
			assert.NoError(t, w.Commit())
			mu.Lock()
			written++
			mu.Unlock()
		})
	}
	wg.Wait()
	assert.Equal(t, 1, written)
}

func TestCreateWaitIsCancelled(t *testing.T) {
	s, _ := open(t)
	w, err := s.Create(t.Context(), sum, int64(len(text)))
	require.NoError(t, err)
	defer w.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err = s.Create(ctx, sum, int64(len(text)))
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

func TestPut(t *testing.T) {
	s, dir := open(t)
	require.EqualError(t, s.Put(sum, 21, strings.NewReader(text+text)), "size mismatch: want 21 bytes, got 22")
	require.EqualError(t, s.Put(sum, 21, strings.NewReader("")), "size mismatch: want 21 bytes, got 0")
	require.ErrorContains(t, s.Put(sum, 21, strings.NewReader(strings.ToUpper(text))), "sha256 mismatch: want ")
	require.ErrorIs(t, s.Put(sum, 21, io.MultiReader(strings.NewReader(text[:9]), badReader{})), assert.AnError)
	assert.Empty(t, listing(t, dir))
	require.NoError(t, s.Put(sum, 21, strings.NewReader(text)))
	assert.Equal(t, text, read(t, s, sum))
	require.NoError(t, s.Put(sum, 21, badReader{}), "what is there is not read again")
}

type badReader struct{}

func (badReader) Read([]byte) (int, error) { return 0, assert.AnError }

func TestAdd(t *testing.T) {
	s, dir := open(t)
	_, _, err := s.Add(strings.NewReader(text), 20)
	require.EqualError(t, err, "store: content is larger than the limit of 20 bytes")
	assert.Empty(t, listing(t, dir))
	got, size, err := s.Add(strings.NewReader(text), 21)
	require.NoError(t, err)
	assert.Equal(t, sum, got)
	assert.EqualValues(t, 21, size)
	assert.Equal(t, text, read(t, s, sum))
	_, _, err = s.Add(strings.NewReader(text), 21)
	require.NoError(t, err, "twice is no error")
}

func TestUsageAndPrune(t *testing.T) {
	s, dir := open(t)
	keep, _, err := s.Add(strings.NewReader("keep"), 10)
	require.NoError(t, err)
	_, _, err = s.Add(strings.NewReader("go"), 10)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "partial", "tmp-1"), []byte("stale"), 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "README"), nil, 0o644))
	w, err := s.Create(t.Context(), sum, int64(len(text)))
	require.NoError(t, err)
	defer w.Close()
	_, err = w.Write([]byte(text[:3]))
	require.NoError(t, err)

	usage, err := s.Usage()
	require.NoError(t, err)
	assert.Equal(t, store.Usage{Files: 2, Bytes: 6, Partials: 2, PartialBytes: 8}, usage)
	gone, err := s.Prune(func(sum store.Sum) bool { return sum == keep })
	require.NoError(t, err)
	assert.Equal(t, store.Usage{Files: 1, Bytes: 2, Partials: 1, PartialBytes: 5}, gone, "not what is being written")
	assert.True(t, s.Has(keep))
	_, err = w.Write([]byte(text[3:]))
	require.NoError(t, err)
	require.NoError(t, w.Commit())
	gone, err = s.Prune(nil)
	require.NoError(t, err)
	assert.Equal(t, store.Usage{Files: 2, Bytes: 25}, gone)
	assert.Equal(t, "README 0644 0", listing(t, dir), "other files are left alone")
}

func TestDiskFull(t *testing.T) {
	_, dir := open(t)
	err := store.DiskError(dir+"/", 500, &os.PathError{Op: "write", Path: "x", Err: unix.ENOSPC})
	var full *store.FullError
	require.ErrorAs(t, err, &full)
	require.ErrorIs(t, err, unix.ENOSPC)
	assert.Equal(t, fmt.Sprintf("store %s: disk full for a file of 500 bytes: %d bytes free", dir, full.Free), err.Error())
	assert.Positive(t, full.Free)
	assert.Contains(t, full.Hint(), "slipway cache prune")
	assert.Equal(t, assert.AnError, store.DiskError(dir, 0, assert.AnError))
	require.NoError(t, store.DiskError(dir, 0, nil))
}

// A directory that cannot be made or written is one clear error.
func TestOpenErrors(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o644))
	_, err := store.Open(filepath.Join(file, "store"))
	require.EqualError(t, err, "open store: mkdir "+file+": not a directory")
}

func BenchmarkPut(b *testing.B) {
	data := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	sum := store.Sum(sha256.Sum256(data))
	s, _ := open(b)
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		require.NoError(b, s.Put(sum, int64(len(data)), bytes.NewReader(data)))
		require.NoError(b, s.Remove(sum))
	}
}
