package s3store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"net/http"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/quire-db/quire/backup/objects"
)

// Get implements objects.Store.
func (s *Store) Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, int64, error) {
	r, err := s.get(ctx, key, off, n)
	if err != nil {
		return nil, 0, s.fail("get", key, err)
	}
	return r, r.size, nil
}

func (s *Store) get(ctx context.Context, key string, off, n int64) (*reader, error) {
	if err := objects.CheckKey(key); err != nil {
		return nil, err
	}
	if off < 0 {
		return nil, fmt.Errorf("%w: offset %d", fs.ErrInvalid, off)
	}
	r := &reader{ctx: ctx, store: s, key: key}
	return r, s.try(ctx, func(ctx context.Context) error { return r.open(ctx, off, n) })
}

// open asks for bytes.
func (r *reader) open(ctx context.Context, off, n int64) error {
	out, err := r.store.client.GetObject(ctx, &s3.GetObjectInput{
		Bucket: &r.store.place.bucket,
		Key:    r.store.name(r.key),
		Range:  rangeHeader(off, n),
	})
	switch {
	case isCode(err, "NoSuchKey"):
		return objects.ErrNotFound
	case status(err) == http.StatusRequestedRangeNotSatisfiable:
		return r.beyond(ctx, off)
	case err != nil:
		return err
	}
	r.body = out.Body
	if err := r.accept(out, off, n); err != nil {
		return errors.Join(err, out.Body.Close())
	}
	return nil
}

// rangeHeader is for n bytes from off on, or all when n is negative. A range cannot
// be empty: for no bytes one is asked for, and not read.
func rangeHeader(off, n int64) *string {
	switch {
	case off == 0 && n < 0:
		return nil
	case n < 0 || n > math.MaxInt64-off:
		return aws.String(fmt.Sprintf("bytes=%d-", off))
	}
	return aws.String(fmt.Sprintf("bytes=%d-%d", off, off+max(n, 1)-1))
}

// beyond asks how long an object is, when the server said that it ends before off.
func (r *reader) beyond(ctx context.Context, off int64) error {
	head, err := r.store.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &r.store.place.bucket, Key: r.store.name(r.key)})
	if status(err) == http.StatusNotFound {
		return objects.ErrNotFound // the bucket is there, or the range would not have been refused
	}
	if err != nil {
		return err
	}
	if r.size = aws.ToInt64(head.ContentLength); r.size > off {
		return lie("it refused a range from byte %d on of an object of %d", off, r.size)
	}
	r.body = http.NoBody
	return nil
}

// accept compares what the server says of its answer with what was asked for.
func (r *reader) accept(out *s3.GetObjectOutput, off, n int64) error {
	length := aws.ToInt64(out.ContentLength)
	if out.ContentLength == nil || length < 0 {
		return lie("it does not say how long its answer is")
	}
	first := int64(0)
	r.size = length
	if out.ContentRange != nil {
		var last int64
		var err error
		if first, last, r.size, err = parseContentRange(*out.ContentRange); err != nil || last-first+1 != length {
			return lie("its answer of %d bytes has the range %q", length, *out.ContentRange)
		}
	}
	r.left = max(0, r.size-off)
	if n >= 0 {
		r.left = min(r.left, n)
	}
	if r.left > 0 && (first != off || length < r.left) {
		return lie("for %d bytes from %d on it answers with %d from %d on", r.left, off, length, first)
	}
	return nil
}

// parseContentRange reads "bytes first-last/size".
func parseContentRange(s string) (first, last, size int64, err error) {
	span, all, _ := strings.Cut(strings.TrimPrefix(s, "bytes "), "/")
	from, to, _ := strings.Cut(span, "-")
	for _, field := range []struct {
		text   string
		number *int64
	}{{from, &first}, {to, &last}, {all, &size}} {
		v, e := strconv.ParseUint(field.text, 10, 63)
		*field.number, err = int64(v), errors.Join(err, e)
	}
	if err == nil && (first > last || last >= size) {
		err = errors.New("it contradicts itself")
	}
	return first, last, size, err
}

func lie(format string, args ...any) error {
	return fmt.Errorf("the server cannot be believed: %s", fmt.Sprintf(format, args...))
}

// reader reads a range of an object.
type reader struct {
	ctx   context.Context
	store *Store
	key   string
	body  io.ReadCloser
	left  int64 // bytes
	size  int64 // of the object
}

// Read fails when the connection ends before the range does: net/http compares
// the bytes with their announced number, and accept did with what was asked for.
func (r *reader) Read(p []byte) (int, error) {
	if r.left == 0 {
		return 0, io.EOF
	}
	n, err := r.body.Read(p[:min(int64(len(p)), r.left)])
	r.left -= int64(n)
	if err == io.EOF && r.left > 0 {
		err = io.ErrUnexpectedEOF
	}
	if err == nil || err == io.EOF {
		return n, err
	}
	if r.ctx.Err() != nil {
		err = ended(r.ctx, err)
	}
	return n, r.store.fail("get", r.key, err)
}

func (r *reader) Close() error { return r.body.Close() }
