// Package omaha is the protocol by which machines ask for updates: version 3
// of Omaha, in XML, as CoreOS's update_engine and CoreUpdate spoke it and
// Nebraska speaks it.
//
// A machine posts a [Request] with what it runs and what became of its last
// update; the server answers with a [Response] that says where a newer payload
// is, or that there is none. Nothing in a response is signed: a machine must
// believe only the signatures in the payload it leads to.
//
// The package reads and writes the documents. It does not choose updates and
// opens no connections. It uses the standard library only.
//
// Sources: Omaha's ServerProtocol document, version 3; go-omaha's
// omaha/protocol.go; update_engine's omaha_request_action.cc.
package omaha

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
)

const (
	// Protocol is the version of the protocol.
	Protocol = "3.0"
	// MaxSize bounds a document that is read, in bytes.
	MaxSize = 1 << 20

	maxDepth    = 16
	maxElements = 4096
)

// header is how documents begin, update_engine included.
const header = `<?xml version="1.0" encoding="UTF-8"?>` + "\n"

// Encode writes a document as servers and machines exchange it. The same
// document gives the same bytes.
func Encode(w io.Writer, document any) error {
	if _, err := io.WriteString(w, header); err != nil {
		return err
	}
	enc := xml.NewEncoder(w)
	enc.Indent("", " ")
	if err := enc.Encode(document); err != nil {
		return fmt.Errorf("omaha: %w", err)
	}
	_, err := io.WriteString(w, "\n")
	return err
}

// errTooLarge is what a document beyond MaxSize gets.
var errTooLarge = fmt.Errorf("larger than %d bytes", MaxSize)

// decode reads one document. Documents with a DTD are refused: it can define
// entities, and nothing of ours has one.
func decode(r io.Reader, into any) error {
	limited := &io.LimitedReader{R: r, N: MaxSize + 1}
	dec := xml.NewTokenDecoder(&guard{dec: xml.NewDecoder(limited)})
	err := dec.Decode(into)
	if err == nil {
		err = trailing(dec)
	}
	switch {
	case limited.N == 0:
		return errTooLarge
	case errors.Is(err, io.EOF):
		return errors.New("ends too early")
	}
	return err
}

// trailing refuses what follows the document, but for white space and
// comments.
func trailing(dec *xml.Decoder) error {
	for {
		token, err := dec.Token()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if _, ok := token.(xml.StartElement); ok {
			return errors.New("more than one document")
		}
	}
}

// guard passes tokens on while they are few and not deep.
type guard struct {
	dec             *xml.Decoder
	depth, elements int
}

// Token gives the next token that the document may have.
func (g *guard) Token() (xml.Token, error) {
	token, err := g.dec.Token()
	switch token.(type) {
	case xml.StartElement:
		g.depth++
		g.elements++
	case xml.EndElement:
		g.depth--
	case xml.Directive:
		return nil, errors.New("has a DTD")
	}
	if g.depth > maxDepth || g.elements > maxElements {
		return nil, fmt.Errorf("more than %d levels or %d elements", maxDepth, maxElements)
	}
	return token, err
}
