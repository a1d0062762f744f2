package patch

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"index/suffixarray"
	"io"
)

// suffixes gives the start of every suffix of data in the order of the
// suffixes. The standard library sorts them well and gives them out only in
// the form it writes to files: the length, the data, and then the numbers in
// chunks, each headed by its size in bytes.
func suffixes(data []byte) ([]int32, error) {
	r, w := io.Pipe()
	go func() { w.CloseWithError(suffixarray.New(data).Write(w)) }()
	defer r.Close()
	sa, err := readSuffixes(r, data)
	if err != nil {
		return nil, fmt.Errorf("internal error: suffix array: %w", err)
	}
	return sa, nil
}

func readSuffixes(r io.Reader, data []byte) ([]int32, error) {
	var head [binary.MaxVarintLen64]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	if n, _ := binary.Varint(head[:]); n != int64(len(data)) {
		return nil, fmt.Errorf("%d bytes, want %d", n, len(data))
	}
	chunk := make([]byte, 64<<10)
	for rest := data; len(rest) > 0; {
		n := min(len(rest), len(chunk))
		if _, err := io.ReadFull(r, chunk[:n]); err != nil {
			return nil, err
		}
		if !bytes.Equal(chunk[:n], rest[:n]) {
			return nil, errors.New("other data")
		}
		rest = rest[n:]
	}
	sa := make([]int32, 0, len(data))
	for len(sa) < len(data) {
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return nil, err
		}
		size, _ := binary.Varint(head[:])
		size -= int64(len(head))
		if size <= 0 || size > int64(len(chunk)) {
			return nil, fmt.Errorf("chunk of %d bytes", size)
		}
		if _, err := io.ReadFull(r, chunk[:size]); err != nil {
			return nil, err
		}
		for at := 0; at < int(size); {
			v, n := binary.Uvarint(chunk[at:size])
			if n <= 0 || v >= uint64(len(data)) || len(sa) == len(data) {
				return nil, errors.New("bad number")
			}
			sa = append(sa, int32(v))
			at += n
		}
	}
	return sa, nil
}
