package objects_test

import (
	"context"
	"errors"
	"io"
	"iter"
	"strings"
	"testing"
	"time"

	"github.com/quire-db/quire/backup/objects"
	"github.com/quire-db/quire/backup/objects/objectstest"
	"github.com/quire-db/quire/internal/vfs/crashfs"
)

// bad is a store that does one thing wrong; what is nil it does well.
type bad struct {
	*objects.Dir
	put  func(ctx context.Context, key string, b objects.Body) error
	get  func(ctx context.Context, key string, off, n int64) (io.ReadCloser, int64, error)
	list func(ctx context.Context, prefix string) iter.Seq2[objects.Item, error]
	del  func(ctx context.Context, key string) error
}

func (b *bad) Put(ctx context.Context, key string, body objects.Body) error {
	if b.put == nil {
		return b.Dir.Put(ctx, key, body)
	}
	return b.put(ctx, key, body)
}

func (b *bad) Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, int64, error) {
	if b.get == nil {
		return b.Dir.Get(ctx, key, off, n)
	}
	return b.get(ctx, key, off, n)
}

func (b *bad) List(ctx context.Context, prefix string) iter.Seq2[objects.Item, error] {
	if b.list == nil {
		return b.Dir.List(ctx, prefix)
	}
	return b.list(ctx, prefix)
}

func (b *bad) Delete(ctx context.Context, key string) error {
	if b.del == nil {
		return b.Dir.Delete(ctx, key)
	}
	return b.del(ctx, key)
}

// TestProbeNamesTheUnfit gives Probe stores of each kind that must not be trusted.
func TestProbeNamesTheUnfit(t *testing.T) {
	for _, c := range []struct {
		name, says string
		spoil      func(b *bad)
	}{
		{"overwrites", "overwrite", func(b *bad) {
			b.put = func(ctx context.Context, key string, body objects.Body) error {
				if err := b.Dir.Put(ctx, key, body); !errors.Is(err, objects.ErrExists) {
					return err
				}
				return nil
			}
		}},
		{"refuses all", "nobody put", func(b *bad) {
			b.put = func(context.Context, string, objects.Body) error { return objects.ErrExists }
		}},
		{"forgets the range", "are not those that were put", func(b *bad) {
			b.get = func(ctx context.Context, key string, _, _ int64) (io.ReadCloser, int64, error) {
				return b.Dir.Get(ctx, key, 0, -1)
			}
		}},
		{"cuts off the end", "are not those that were put", func(b *bad) {
			b.get = func(ctx context.Context, key string, off, n int64) (io.ReadCloser, int64, error) {
				r, size, err := b.Dir.Get(ctx, key, off, n)
				if err != nil {
					return nil, 0, err
				}
				return struct {
					io.Reader
					io.Closer
				}{io.LimitReader(r, 800), r}, size, nil
			}
		}},
		{"keeps what was deleted", "was deleted", func(b *bad) {
			b.del = func(context.Context, string) error { return nil }
		}},
		{"finds what is not there", "nobody put is there", func(b *bad) {
			b.get = func(context.Context, string, int64, int64) (io.ReadCloser, int64, error) {
				return io.NopCloser(strings.NewReader("")), 0, nil
			}
		}},
		{"lists nothing", "0 times", func(b *bad) {
			b.list = func(context.Context, string) iter.Seq2[objects.Item, error] {
				return func(func(objects.Item, error) bool) {}
			}
		}},
		{"lists twice", "2 times", func(b *bad) {
			b.list = func(ctx context.Context, prefix string) iter.Seq2[objects.Item, error] {
				return func(yield func(objects.Item, error) bool) {
					for item, err := range b.Dir.List(ctx, prefix) {
						for range 2 {
							if !yield(item, err) {
								return
							}
						}
					}
				}
			}
		}},
		{"lists others", "its list of", func(b *bad) {
			b.list = func(context.Context, string) iter.Seq2[objects.Item, error] { return b.Dir.List(background, "") }
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := &bad{Dir: onDisk(t, crashfs.New(), began)}
			ok(t, put(b, "FORMAT", ""))
			c.spoil(b)
			err := objects.Probe(background, b, began)
			is(t, err, objects.ErrUnfit)
			if says := err.Error(); !strings.Contains(says, c.says) || !strings.Contains(says, "file:///deep/store") {
				t.Errorf("it says %q", says)
			}
		})
	}
}

// TestProbeCutOff ends each call of a probe: it says so, calls nobody unfit for it, and a later
// probe removes what it left.
func TestProbeCutOff(t *testing.T) {
	whole := objectstest.Count(onDisk(t, crashfs.New(), began))
	ok(t, objects.Probe(background, whole, began))
	for n := range whole.Log() {
		for _, how := range []objectstest.How{objectstest.Fail, objectstest.LoseAnswer, objectstest.LoseCall, objectstest.Stop} {
			s := onDisk(t, crashfs.New(), began)
			cut := objectstest.Count(s)
			cut.At(n, how)
			err := objects.Probe(background, cut, began)
			if !errors.Is(err, objectstest.ErrCut) || errors.Is(err, objects.ErrUnfit) {
				t.Errorf("call %d, %d: %v", n, how, err)
			}
			ok(t, objects.Probe(background, s, began.Add(time.Hour)))
			ok(t, objects.Probe(background, s, began.Add(25*time.Hour)))
			if has := contents(t, s); len(has) != 0 {
				t.Errorf("call %d, %d: left over is %v", n, how, has)
			}
		}
	}
}
