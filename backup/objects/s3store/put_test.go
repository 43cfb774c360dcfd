package s3store_test

import (
	"context"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quire-db/quire/backup/objects"
	"github.com/quire-db/quire/backup/objects/s3store"
)

// answering refuses each request.
func answering(status int, code string) func(http.ResponseWriter, *http.Request, int) bool {
	return func(w http.ResponseWriter, r *http.Request, _ int) bool {
		_, _ = io.Copy(io.Discard, r.Body)
		refuse(w, status, code)
		return true
	}
}

// cut closes the connection without an answer.
func cut() { panic(http.ErrAbortHandler) }

// TestPutRefused: what a server says decides about the error, and about trying again.
func TestPutRefused(t *testing.T) {
	for _, c := range []struct {
		status   int
		code     string
		want     error // nil for a plain one
		attempts string
	}{
		{412, "PreconditionFailed", objects.ErrExists, "PUT"},
		{403, "AccessDenied", nil, "PUT"},
		{403, "InvalidAccessKeyId", nil, "PUT"},
		{404, "NoSuchBucket", nil, "PUT"},
		{301, "PermanentRedirect", nil, "PUT"},
		{400, "EntityTooLarge", nil, "PUT"},
		{400, "RequestTimeout", nil, "PUT PUT PUT"},
		{400, "BadDigest", objects.ErrChecksum, "PUT PUT PUT"},
		{409, "ConditionalRequestConflict", objects.ErrUnknown, "PUT PUT PUT"},
		{409, "BucketIsBusy", nil, "PUT"},
		{408, "", objects.ErrUnknown, "PUT PUT PUT"},
		{429, "", nil, "PUT PUT PUT"},
		{500, "InternalError", objects.ErrUnknown, "PUT PUT PUT"},
		{502, "", objects.ErrUnknown, "PUT PUT PUT"},
		{503, "SlowDown", objects.ErrUnknown, "PUT PUT PUT"},
		{501, "NotImplemented", objects.ErrUnfit, "PUT"},
	} {
		f := newFake(t)
		f.act(answering(c.status, c.code))
		err := put(f.open(t), "a", "text")
		if c.want == nil {
			isPlain(t, err)
		} else {
			is(t, err, c.want)
		}
		if f.log() != c.attempts {
			t.Errorf("%d %s: attempts %q, want %q", c.status, c.code, f.log(), c.attempts)
		}
		if says := err.Error(); c.want != objects.ErrExists && !strings.Contains(says, c.code) || strings.Contains(says, "a-secret-key") {
			t.Errorf("%d %s: it says %q", c.status, c.code, says)
		}
	}
}

// TestPutTriedAgain: what passes is not seen by the caller.
func TestPutTriedAgain(t *testing.T) {
	for _, c := range []struct {
		status int
		code   string
	}{
		{409, "ConditionalRequestConflict"}, {500, "InternalError"}, {503, "SlowDown"}, {400, "BadDigest"}, {400, "RequestTimeout"},
	} {
		f := newFake(t)
		f.act(func(w http.ResponseWriter, r *http.Request, n int) bool {
			return n < 3 && answering(c.status, c.code)(w, r, n)
		})
		s := f.open(t)
		if err := put(s, "a", "text"); err != nil {
			t.Errorf("%d %s: %v", c.status, c.code, err)
		}
		holds(t, s, "a", "text")
	}
}

// putUnseen carries out a put, whatever the answer.
func (f *fake) putUnseen(r *http.Request) {
	_, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	f.put(httptest.NewRecorder(), r, key)
}

// lost carries out the first put, then fails in a way; then comes other.
func (f *fake) lost(fail func(w http.ResponseWriter), then func(w http.ResponseWriter, r *http.Request, n int) bool) {
	f.act(func(w http.ResponseWriter, r *http.Request, n int) bool {
		if n > 1 {
			return then != nil && then(w, r, n)
		}
		f.putUnseen(r)
		fail(w)
		return true
	})
}

// TestPutWhoseAnswerIsLost: the repetition finds its own object and says so, or
// another's; and when it cannot find out, that.
func TestPutWhoseAnswerIsLost(t *testing.T) {
	fails := map[string]func(http.ResponseWriter){
		"cut": func(http.ResponseWriter) { cut() },
		"500": func(w http.ResponseWriter) { refuse(w, http.StatusInternalServerError, "InternalError") },
		"no answer of HTTP": func(w http.ResponseWriter) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err == nil {
				_, _ = conn.Write([]byte("what?\r\n\r\n"))
				_ = conn.Close()
			}
		},
	}
	for name, fail := range fails {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			s := f.open(t)
			f.lost(fail, nil)
			ok(t, put(s, "a", "text"))
			if log := f.log(); log != "PUT PUT HEAD" && (log != "PUT HEAD" || name == "500") {
				t.Errorf("requests %q", log)
			}
			holds(t, s, "a", "text")
			is(t, put(s, "a", "text"), objects.ErrExists)
		})
		t.Run(name+", empty", func(t *testing.T) {
			f := newFake(t)
			s := f.open(t)
			f.lost(fail, nil)
			ok(t, put(s, "a", ""))
			holds(t, s, "a", "")
		})
		t.Run(name+", and another was faster", func(t *testing.T) {
			f := newFake(t)
			s := f.open(t)
			f.keep("below/this/a", held{[]byte("other"), "another put"}, true)
			f.lost(fail, nil)
			is(t, put(s, "a", "text"), objects.ErrExists)
			holds(t, s, "a", "other")
		})
		for _, then := range []struct {
			name   string
			answer func(w http.ResponseWriter, r *http.Request, n int) bool
		}{
			{"and then it is forbidden", answering(403, "AccessDenied")},
			{"and then nobody knows whose it is", func(w http.ResponseWriter, r *http.Request, n int) bool {
				return r.Method == http.MethodHead && answering(403, "")(w, r, n)
			}},
		} {
			t.Run(name+", "+then.name, func(t *testing.T) {
				f := newFake(t)
				s := f.open(t)
				f.lost(fail, then.answer)
				is(t, put(s, "a", "text"), objects.ErrUnknown)
				f.act(nil)
				is(t, put(s, "a", "text"), objects.ErrExists)
			})
		}
	}
}

// zeros is a body of much more than systems take from a connection that nobody reads.
type zeros struct{}

func many() objects.Body {
	crc, chunk := uint32(0), make([]byte, 1<<20)
	for range 64 {
		crc = objects.Checksum(crc, chunk)
	}
	return objects.Body{Data: zeros{}, Size: 64 << 20, CRC: crc}
}

func (zeros) ReadAt(p []byte, _ int64) (int, error) {
	clear(p)
	return len(p), nil
}

// TestPutCutOffEarly: while bytes are missing, nothing was put, for certain.
func TestPutCutOffEarly(t *testing.T) {
	f := newFake(t)
	f.act(func(http.ResponseWriter, *http.Request, int) bool {
		cut()
		return true
	})
	isPlain(t, f.open(t).Put(background, "a", many()))
	if puts := strings.ReplaceAll(f.log(), " HEAD", ""); puts != "PUT PUT PUT" { // it looks whether the key is taken
		t.Errorf("requests %q", f.log())
	}
}

// TestTakenKeyCutOff: a server that refuses a large object may close the connection
// before it has come, and its answer with it.
func TestTakenKeyCutOff(t *testing.T) {
	f := newFake(t)
	s := f.open(t)
	ok(t, put(s, "a", "text"))
	f.act(func(_ http.ResponseWriter, r *http.Request, _ int) bool {
		if r.Method == http.MethodPut {
			cut()
		}
		return false
	})
	is(t, s.Put(background, "a", many()), objects.ErrExists)
}

// TestServerIsGone: nothing was sent.
func TestServerIsGone(t *testing.T) {
	f := newFake(t)
	s := f.open(t)
	f.server.Close()
	isPlain(t, put(s, "a", "text"))
	isPlain(t, put(s, "a", ""))
	isPlain(t, s.Delete(background, "a"))
	_, _, err := s.Get(background, "a", 0, -1)
	isPlain(t, err)
	for _, err = range s.List(background, "") {
		break
	}
	isPlain(t, err)
}

// TestNoCredentials is said at once, and by that name.
func TestNoCredentials(t *testing.T) {
	f := newFake(t)
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "")
	s := f.open(t)
	err := put(s, "a", "text")
	isPlain(t, err)
	if !strings.Contains(err.Error(), "no AWS credentials") || f.log() != "" {
		t.Errorf("error is %v, requests %q", err, f.log())
	}
	ctx, end := context.WithCancel(background)
	end()
	is(t, s.Delete(ctx, "a"), context.Canceled)
}

// overTLS is a fake that is reached by https, where bodies are sent as they are read.
func overTLS(t *testing.T) *fake {
	f := newFake(t)
	f.server.Close()
	f.server = httptest.NewTLSServer(f)
	t.Cleanup(f.server.Close)
	file := filepath.Join(t.TempDir(), "ca.pem")
	ok(t, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: f.server.Certificate().Raw}), 0o600))
	t.Setenv("AWS_CA_BUNDLE", file)
	return f
}

// TestBadBodyNeverArrives: the end of a body that is not what it should be stays
// here, also when the rest was on its way; and it is not sent again.
func TestBadBodyNeverArrives(t *testing.T) {
	for _, size := range []int{1, 100, 5 << 20} {
		data := []byte(strings.Repeat("x", size))
		flipped, longer := objects.Bytes(data), objects.Bytes(data)
		flipped.CRC++
		longer.Size++
		for _, body := range []objects.Body{flipped, longer} {
			f := overTLS(t)
			var arrived atomic.Int64
			f.act(func(_ http.ResponseWriter, r *http.Request, _ int) bool {
				n, _ := io.Copy(io.Discard, r.Body)
				arrived.Add(n)
				cut()
				return true
			})
			is(t, f.open(t).Put(background, "a", body), objects.ErrChecksum)
			f.server.Close() // when it has answered
			if n := arrived.Load(); n >= body.Size || len(f.log()) > len("PUT") {
				t.Errorf("%d of %d bytes arrived by %s", n, body.Size, f.log())
			}
		}
		f := overTLS(t)
		s := f.open(t)
		ok(t, s.Put(background, "a", objects.Bytes(data)))
		holds(t, s, "a", string(data))
	}
}

// rotting is a body that is good until somebody says otherwise.
type rotting struct {
	io.ReaderAt
	bad *atomic.Bool
}

func (r rotting) ReadAt(p []byte, off int64) (int, error) {
	n, err := r.ReaderAt.ReadAt(p, off)
	if r.bad.Load() {
		p[0]++
	}
	return n, err
}

// TestBodyRotsBetweenAttempts: the first attempt may have put it, so nobody may
// say that nothing was put.
func TestBodyRotsBetweenAttempts(t *testing.T) {
	f := newFake(t)
	s := f.open(t)
	var bad atomic.Bool
	f.lost(func(w http.ResponseWriter) {
		bad.Store(true)
		refuse(w, http.StatusInternalServerError, "InternalError")
	}, nil)
	body := objects.Bytes([]byte("text"))
	body.Data = rotting{body.Data, &bad}
	err := s.Put(background, "a", body)
	is(t, err, objects.ErrUnknown)
	if errors.Is(err, objects.ErrChecksum) {
		t.Errorf("error is %v", err)
	}
}

// silent takes a request and does not answer until its client goes.
func silent(took chan<- struct{}) func(http.ResponseWriter, *http.Request, int) bool {
	return func(_ http.ResponseWriter, r *http.Request, _ int) bool {
		_, _ = io.Copy(io.Discard, r.Body)
		took <- struct{}{}
		<-r.Context().Done()
		cut()
		return true
	}
}

// TestContextEndsACall that was sent.
func TestContextEndsACall(t *testing.T) {
	for name, call := range map[string]func(ctx context.Context, s objects.Store) error{
		"put": func(ctx context.Context, s objects.Store) error {
			return s.Put(ctx, "a", objects.Bytes([]byte("text")))
		},
		"delete": func(ctx context.Context, s objects.Store) error { return s.Delete(ctx, "a") },
		"get": func(ctx context.Context, s objects.Store) error {
			_, _, err := s.Get(ctx, "a", 0, -1)
			return err
		},
		"list": func(ctx context.Context, s objects.Store) (err error) {
			for _, err = range s.List(ctx, "") {
				break
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			took := make(chan struct{}, 1)
			f.act(silent(took))
			s := f.open(t)
			ctx, end := context.WithCancel(background)
			go func() {
				<-took
				end()
			}()
			err := call(ctx, s)
			is(t, err, context.Canceled)
			if changes := name == "put" || name == "delete"; changes != errors.Is(err, objects.ErrUnknown) {
				t.Errorf("error is %v", err)
			}
			if strings.Contains(f.log(), " ") {
				t.Errorf("requests %q", f.log())
			}
		})
	}
}

// TestContextEndsAWait between two attempts.
func TestContextEndsAWait(t *testing.T) {
	f := newFake(t)
	ctx, end := context.WithCancel(background)
	f.act(func(w http.ResponseWriter, r *http.Request, n int) bool {
		defer end()
		return answering(500, "InternalError")(w, r, n)
	})
	err := openURL(t, f.url(), s3store.Options{Backoff: time.Hour}).Put(ctx, "a", objects.Bytes([]byte("text")))
	is(t, err, context.Canceled)
	is(t, err, objects.ErrUnknown)
}

// TestStall: a server that hangs is given up.
func TestStall(t *testing.T) {
	f := newFake(t)
	f.act(silent(make(chan struct{}, 3)))
	s := openURL(t, f.url(), s3store.Options{Attempts: 1, Stall: time.Second})
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := put(s, "a", "text"); !errors.Is(err, objects.ErrUnknown) {
			t.Errorf("put: %v", err)
		}
	})
	wg.Go(func() {
		if err := s.Delete(background, "a"); !errors.Is(err, objects.ErrUnknown) {
			t.Errorf("delete: %v", err)
		}
	})
	wg.Go(func() {
		if _, err := text(s, "a", 0, -1); err == nil {
			t.Error("there was an answer")
		}
	})
	wg.Wait()
}

// TestStallIsTriedAgain, since others do not hang.
func TestStallIsTriedAgain(t *testing.T) {
	f := newFake(t)
	hang := silent(make(chan struct{}, 1))
	f.act(func(w http.ResponseWriter, r *http.Request, n int) bool { return n == 1 && hang(w, r, n) })
	s := openURL(t, f.url(), s3store.Options{Backoff: time.Nanosecond, Stall: 300 * time.Millisecond})
	ok(t, put(s, "a", "text"))
	holds(t, openURL(t, f.url(), quick), "a", "text")
}

// TestStalledBodies hangs while bytes are sent, and while they are received.
func TestStalledBodies(t *testing.T) {
	f := newFake(t)
	release := make(chan struct{})
	f.act(func(w http.ResponseWriter, r *http.Request, _ int) bool {
		if r.Method == http.MethodGet {
			w.Header().Set("Content-Length", "10")
			_, _ = w.Write([]byte("01234"))
			_ = http.NewResponseController(w).Flush()
		}
		_, _ = r.Body.Read(make([]byte, 1)) // which asks for the body
		<-release
		cut()
		return true
	})
	s := openURL(t, f.url(), s3store.Options{Attempts: 1, Stall: 100 * time.Millisecond})
	isPlain(t, s.Put(background, "a", many()))
	if got, err := text(s, "a", 0, -1); err == nil || !strings.HasPrefix("01234", got) {
		t.Errorf("read %q, %v", got, err)
	}
	close(release)
}
