package release

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// chunks computes Entry.Chunks with several goroutines. Chunks that lie in a
// hole of a sparse file are not read.
func chunks(f *os.File, size int64, workers int) (string, error) {
	n := (size + ChunkSize - 1) / ChunkSize
	holds := dataChunks(f, size, n)
	sums := make([][32]byte, n)
	zeroSum := sha256.Sum256(make([]byte, ChunkSize))
	errs := make([]error, workers)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			buf := make([]byte, ChunkSize)
			for i := int64(w); i < n; i += int64(workers) {
				part := buf[:min(ChunkSize, size-i*ChunkSize)]
				if !holds[i] && len(part) == ChunkSize {
					sums[i] = zeroSum
					continue
				}
				if _, err := f.ReadAt(part, i*ChunkSize); err != nil && err != io.EOF {
					errs[w] = err
					return
				}
				sums[i] = sha256.Sum256(part)
			}
		})
	}
	wg.Wait()
	h := sha256.New()
	for i := range sums {
		h.Write(sums[i][:])
	}
	return hex.EncodeToString(h.Sum(nil)), errors.Join(errs...)
}

// dataChunks says which of the n chunks may hold something else than zeros. A
// file system without SEEK_DATA makes it say all of them.
func dataChunks(f *os.File, size, n int64) []bool {
	holds := make([]bool, n)
	for at := int64(0); at < size; {
		start, err := unix.Seek(int(f.Fd()), at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return holds
		}
		end := size
		if err != nil {
			start = at
		} else if hole, err := unix.Seek(int(f.Fd()), start, unix.SEEK_HOLE); err == nil {
			end = hole
		}
		for i := start / ChunkSize; i <= (end-1)/ChunkSize && i < n; i++ {
			holds[i] = true
		}
		at = end
	}
	return holds
}
