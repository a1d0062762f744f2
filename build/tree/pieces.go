package tree

import (
	"crypto/sha256"
	"io"
	"sort"
	"sync"
)

// Piece is consecutive bytes of a content in something larger.
type Piece struct {
	Offset int64 // in what holds it
	Size   int64
}

// Pieces is a Blob that lies in an image, in one or more pieces, as readers of
// file systems find it. Its digest is computed when it is first asked for.
type Pieces struct {
	r      io.ReaderAt
	pieces []Piece
	starts []int64 // of each piece in the content
	size   int64

	once sync.Once
	sum  [32]byte
}

// NewPieces joins pieces of r, in order.
func NewPieces(r io.ReaderAt, pieces ...Piece) *Pieces {
	p := &Pieces{r: r, pieces: pieces}
	for _, piece := range pieces {
		p.starts = append(p.starts, p.size)
		p.size += piece.Size
	}
	return p
}

// Pieces says where the content lies.
func (p *Pieces) Pieces() []Piece { return p.pieces }

// Size is the size of the content in bytes.
func (p *Pieces) Size() int64 { return p.size }

// SHA256 reads the whole content when first called. If that meets an error the
// digest is all zero, which is no content's digest.
func (p *Pieces) SHA256() [32]byte {
	p.once.Do(func() {
		h := sha256.New()
		if n, err := io.Copy(h, io.NewSectionReader(p, 0, p.size)); err == nil && n == p.size {
			h.Sum(p.sum[:0])
		}
	})
	return p.sum
}

// Open gives a reader that also reads at offsets and need not be closed.
func (p *Pieces) Open() (io.ReadCloser, error) {
	return section{io.NewSectionReader(p, 0, p.size)}, nil
}

type section struct{ *io.SectionReader }

func (section) Close() error { return nil }

// ReadAt reads from the content, as io.ReaderAt wants it.
func (p *Pieces) ReadAt(b []byte, off int64) (int, error) {
	if off < 0 || off >= p.size {
		return 0, io.EOF
	}
	short := int64(len(b)) > p.size-off
	if short {
		b = b[:p.size-off]
	}
	k := sort.Search(len(p.starts), func(i int) bool { return p.starts[i] > off }) - 1
	n := 0
	for ; n < len(b); k++ {
		skip := off + int64(n) - p.starts[k]
		part := b[n:min(int64(len(b)), int64(n)+p.pieces[k].Size-skip)]
		got, err := p.r.ReadAt(part, p.pieces[k].Offset+skip)
		if n += got; got < len(part) {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF // the image is shorter than its file
			}
			return n, err
		}
	}
	if short {
		return n, io.EOF
	}
	return n, nil
}
