package erofs

import (
	"io"

	"slipway/build/tree"
)

// Content is the blob of a file in an image: a run of blocks and, in images of
// others or for small files, a tail behind the inode.
type Content struct {
	*tree.Pieces
	body tree.Piece
}

// newContent joins a run of blocks and a tail, either of which may be empty.
func newContent(r io.ReaderAt, body, tail tree.Piece) *Content {
	var pieces []tree.Piece
	for _, p := range []tree.Piece{body, tail} {
		if p.Size > 0 {
			pieces = append(pieces, p)
		}
	}
	return &Content{tree.NewPieces(r, pieces...), body}
}

// Blocks says where in the image the content starts and how many of its bytes
// lie there in one run: all of them, or none, or all but a tail.
func (c *Content) Blocks() (offset, size int64) { return c.body.Offset, c.body.Size }
