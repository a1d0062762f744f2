package api

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"net/url"
)

// pageToken names a page: the number of entries on each, and the page's number
// from 1.
type pageToken struct {
	Limit, Page uint16
}

// String is the token in URLs.
func (t pageToken) String() string {
	b := binary.LittleEndian.AppendUint16(nil, t.Limit)
	return base64.URLEncoding.EncodeToString(binary.LittleEndian.AppendUint16(b, t.Page))
}

func parsePageToken(s string) (t pageToken, err error) {
	b, err := base64.URLEncoding.DecodeString(s)
	if err != nil {
		return t, err
	}
	if len(b) < 4 {
		return t, errors.New("unexpected EOF")
	}
	return pageToken{binary.LittleEndian.Uint16(b), binary.LittleEndian.Uint16(b[2:])}, nil
}

// requestedPage is the page that a URL asks for, the first unless it says.
func requestedPage(u *url.URL, limit uint16) (pageToken, error) {
	values := u.Query()["nextPageToken"]
	switch len(values) {
	case 0:
		return pageToken{limit, 1}, nil
	case 1:
	default:
		return pageToken{}, errors.New("too many values for page token")
	}
	t, err := parsePageToken(values[0])
	switch {
	case err != nil:
		return t, err
	case t.Limit != limit:
		return t, fmt.Errorf("token limit must be %d", limit)
	case t.Page == 0:
		return t, errors.New("token page must be greater than zero")
	}
	return t, nil
}

// cut gives the entries of a page, and the token of the next, "" for the last.
func cut[T any](all []T, t pageToken) (items []T, next string) {
	begin := (int(t.Page) - 1) * int(t.Limit)
	end := begin + int(t.Limit)
	if begin >= len(all) {
		return nil, ""
	}
	if end >= len(all) {
		return all[begin:], ""
	}
	return all[begin:end], pageToken{t.Limit, t.Page + 1}.String()
}
