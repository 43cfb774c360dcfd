package demo_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/quire-db/quire/backup/restore"
	"github.com/quire-db/quire/internal/demo"
	"github.com/quire-db/quire/txn"
)

// The test's binary is the child too.
func TestMain(m *testing.M) {
	if dir := os.Getenv("QUIRE_DEMO_CHILD"); dir != "" {
		fmt.Fprintln(os.Stderr, demo.Work(context.Background(), dir, os.Stdin))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func child(dir string) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "QUIRE_DEMO_CHILD="+dir)
	return cmd
}

func config(t *testing.T) demo.Config {
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	return demo.Config{
		Dir: t.TempDir(), Root: filepath.Join(strings.TrimSpace(string(root)), "src", "encoding"), Bytes: 4 << 20,
		Writers: 4, Commit: 300 * time.Millisecond, Seed: 1, Child: child,
	}
}

func TestDemoProves(t *testing.T) {
	var steps []string
	var r *demo.Report
	for range 20 { // a kill may come when no writer has begun anew yet
		c := config(t)
		steps = nil
		c.Step = func(name string, _ *demo.Report) { steps = append(steps, name) }
		var err error
		if r, err = demo.Run(context.Background(), c); err != nil {
			t.Fatalf("%v\n%+v", err, r)
		}
		if r.Commit.InFlight > 0 {
			break
		}
	}
	if !r.Proven || r.Commit.Acknowledged == 0 || r.Commit.InFlight == 0 || r.Prove.Acknowledged != r.Commit.Acknowledged ||
		r.Prove.Unheard+r.Prove.Absent != r.Commit.InFlight || r.Prove.Volumes != r.Import.Files || r.Prove.Pages < r.Import.Pages {
		t.Errorf("the report does not add up: %+v", r)
	}
	if r.Compare.Digest == "" || r.Compare.Digest != r.Compare.Restored || r.Compare.Volumes != r.Import.Files || r.Compare.Pages < r.Prove.Pages ||
		r.Restore.LSN >= r.Accident.LSN || r.Backup.LSN > r.Restore.LSN || r.Accident.Time.Sub(r.Restore.Target) != time.Second || r.Restore.Time.After(r.Restore.Target) {
		t.Errorf("the restore does not add up: %+v", r)
	}
	if got, want := strings.Join(steps, " "), "import commit recover prove verify backup accident restore compare"; got != want {
		t.Errorf("steps %q, want %q", got, want)
	}
}

// Whatever somebody does to the store between the kill and the recovery must
// show: a proof that cannot fail proves nothing.
func TestDemoNoticesWhatDoesNotBelong(t *testing.T) {
	for name, spoil := range map[string]func(*txn.Tx, string) error{
		"a page changed": func(tx *txn.Tx, volume string) error {
			v, err := tx.Volume(volume)
			if err != nil {
				return err
			}
			return v.WritePage(0, slices.Repeat([]byte{7}, demo.PageSize))
		},
		"a volume grown": func(tx *txn.Tx, volume string) error {
			v, err := tx.Volume(volume)
			if err != nil {
				return err
			}
			return v.Truncate(1000)
		},
		"a volume made": func(tx *txn.Tx, _ string) error {
			_, err := tx.CreateVolume("stranger", txn.VolumeOptions{})
			return err
		},
		"a volume gone": func(tx *txn.Tx, volume string) error { return tx.DeleteVolume(volume) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for step, store := range map[string]string{demo.StepCommit: "store", demo.StepRestore: "restored"} {
				c := config(t)
				c.Step = func(done string, r *demo.Report) {
					if done == step {
						strange(t, c, store, spoil)
					}
				}
				if _, err := demo.Run(context.Background(), c); !errors.Is(err, demo.ErrNotProven) {
					t.Errorf("Run: %v, want ErrNotProven behind step %s", err, step)
				}
			}
		})
	}
}

// strange commits a transaction that the demo did not ask for.
func strange(t *testing.T, c demo.Config, store string, spoil func(*txn.Tx, string) error) {
	t.Helper()
	files, err := demo.FindFiles(context.Background(), c.Root, c.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	m, _, err := txn.Open(filepath.Join(c.Dir, store), txn.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if _, err := m.Update(context.Background(), func(tx *txn.Tx) error { return spoil(tx, files[0].Name) }); err != nil {
		t.Fatal(err)
	}
}

// What the archive lacks is not restored short.
func TestDemoNoticesWhatTheArchiveLacks(t *testing.T) {
	c := config(t)
	c.Step = func(step string, r *demo.Report) {
		if step != demo.StepAccident {
			return
		}
		names, err := filepath.Glob(filepath.Join(c.Dir, "archive/logs/*/append/*"))
		if err != nil || len(names) < 2 {
			t.Fatalf("%v, %v", names, err)
		}
		for _, name := range names {
			if err := os.Remove(name); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := demo.Run(context.Background(), c); !errors.Is(err, restore.ErrRefused) {
		t.Errorf("Run: %v, want a refusal", err)
	}
}

// A lost acknowledgement must show as well.
func TestDemoNoticesAnInventedAcknowledgement(t *testing.T) {
	c := config(t)
	c.Step = func(step string, r *demo.Report) {
		if step != demo.StepCommit {
			return
		}
		f, err := os.OpenFile(filepath.Join(c.Dir, "acks"), os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		fmt.Fprintf(f, "%d %s %d %d\n", 1<<40, "018f0000-0000-7000-8000-000000000000", 0, 1<<30)
	}
	if _, err := demo.Run(context.Background(), c); !errors.Is(err, demo.ErrNotProven) {
		t.Errorf("Run: %v, want ErrNotProven", err)
	}
}

// Commits that say they are the child's and have other contents: only the
// pages can tell.
func TestDemoNoticesOtherContents(t *testing.T) {
	c := config(t)
	c.Child = func(dir string) *exec.Cmd {
		plan := filepath.Join(dir, "plan.json")
		b, err := os.ReadFile(plan)
		if err == nil {
			err = os.WriteFile(plan, bytes.Replace(b, []byte(`"seed":1,`), []byte(`"seed":2,`), 1), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		return child(dir)
	}
	if _, err := demo.Run(context.Background(), c); !errors.Is(err, demo.ErrNotProven) || !strings.Contains(err.Error(), "not what the commits say") {
		t.Errorf("Run: %v, want ErrNotProven for a page", err)
	}
}

func TestDemoSaysWhyTheChildEnded(t *testing.T) {
	c := config(t)
	c.Child = func(string) *exec.Cmd { return exec.Command("sh", "-c", "echo no luck >&2; exit 3") }
	if _, err := demo.Run(context.Background(), c); err == nil || !strings.Contains(err.Error(), "no luck") {
		t.Errorf("Run: %v, want what the child said", err)
	}
}

func TestFindFilesWithoutAny(t *testing.T) {
	if _, err := demo.FindFiles(context.Background(), t.TempDir(), 1<<20); !errors.Is(err, demo.ErrNoFiles) {
		t.Errorf("FindFiles: %v, want ErrNoFiles", err)
	}
}

func TestEditsFollowFromThePlanAlone(t *testing.T) {
	p := &demo.Plan{Seed: 7, Writers: 2, Files: []demo.File{{Name: "a", Bytes: 10000}, {Name: "b"}}}
	q := *p
	for n := 1; n < 200; n++ {
		if !slices.Equal(p.Edits(1, n), q.Edits(1, n)) {
			t.Fatalf("commit %d differs", n)
		}
		for _, e := range p.Edits(0, n) {
			if e.Page > p.Files[e.File].Pages() {
				t.Fatalf("edit %+v lies beyond the end", e)
			}
		}
	}
}
