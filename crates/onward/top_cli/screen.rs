//! The screen of `onward top`: the head, and below it as many lists as there is room for.

use std::cmp::Reverse;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use journal::shown;
use ratatui::crossterm::event::{self, KeyCode, KeyEvent, KeyModifiers};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::Stylize;
use ratatui::text::Line;
use ratatui::widgets::{Paragraph, Row as Cells, Table};
use ratatui::{DefaultTerminal, Frame};

use super::{List, Look, Row, head, look};
use crate::print::Printer;

struct Screen {
    look: Look,
    /// Why it is not looked at again.
    trouble: Option<String>,
    order: Order,
    /// The list that comes first.
    first: usize,
    print: Printer,
}

#[derive(Debug, Clone, Copy)]
enum Order {
    Name,
    /// By this one of the counts, the largest first.
    Count(usize),
}

/// Until `q` is pressed.
pub(super) async fn run(socket: &Path, look: Look, print: Printer) -> io::Result<()> {
    let screen = Screen::new(look, print);
    // From here on a panic, too, gives the terminal back as it was.
    let mut terminal = ratatui::try_init()?;
    let done = screen.watch(socket, &mut terminal).await;
    ratatui::try_restore()?;
    done
}

impl Screen {
    fn new(look: Look, print: Printer) -> Self {
        Self {
            look,
            trouble: None,
            order: Order::Count(0),
            first: 0,
            print,
        }
    }

    async fn watch(mut self, socket: &Path, terminal: &mut DefaultTerminal) -> io::Result<()> {
        let mut looked = Instant::now();
        loop {
            terminal.draw(|frame| self.draw(frame))?;
            let wait = EVERY.saturating_sub(looked.elapsed());
            let pressed = tokio::task::spawn_blocking(move || pressed(wait));
            match pressed.await.map_err(io::Error::other)?? {
                Some(key) if is_end(key) => return Ok(()),
                Some(key) => self.press(key.code),
                None => {
                    looked = Instant::now();
                    match look(socket).await {
                        Ok(look) => (self.look, self.trouble) = (look, None),
                        Err(error) => self.trouble = Some(error.to_string()),
                    }
                }
            }
        }
    }

    fn press(&mut self, key: KeyCode) {
        match key {
            KeyCode::Char('n') => self.order = Order::Name,
            KeyCode::Char('1') => self.order = Order::Count(0),
            KeyCode::Char('2') => self.order = Order::Count(1),
            KeyCode::Tab => self.first += 1,
            _ => {}
        }
    }

    fn draw(&self, frame: &mut Frame<'_>) {
        let mut head = head(&self.look.status);
        head.extend(self.trouble.iter().map(|error| format!("! {error}")));
        let lines = head.iter().map(|line| {
            let line = Line::from(self.print.shown(line));
            let is_wrong = line.spans.iter().any(|span| span.content.starts_with('!'));
            if is_wrong { line.bold() } else { line }
        });
        let rows = [
            Constraint::Length(head.len() as u16),
            Constraint::Fill(1),
            Constraint::Length(1),
        ];
        let [top, middle, bottom] = Layout::vertical(rows).areas(frame.area());
        frame.render_widget(Paragraph::new(lines.collect::<Vec<_>>()), top);
        frame.render_widget(Line::from(KEYS), bottom);
        let lists = &self.look.lists;
        let fitting = usize::from(middle.height / LIST_LINES_MIN).clamp(1, lists.len());
        let areas = Layout::vertical(vec![Constraint::Fill(1); fitting]).split(middle);
        let shown = lists.iter().cycle().skip(self.first % lists.len());
        for (list, area) in shown.zip(areas.iter()) {
            self.draw_list(list, *area, frame);
        }
    }

    fn draw_list(&self, list: &List, area: Rect, frame: &mut Frame<'_>) {
        let mut rows: Vec<&Row> = list.rows.iter().collect();
        match self.order {
            Order::Name => rows.sort_by_key(|row| &row.name),
            Order::Count(number) => rows.sort_by_key(|row| Reverse(row.counts[number])),
        }
        let cells = |name: &str, counts: [String; 2]| {
            let [one, two] = counts.map(|count| Line::from(count).right_aligned());
            Cells::new([
                Line::from(self.print.shown(&shown::line(name)).into_owned()),
                one,
                two,
            ])
        };
        let rows = rows
            .iter()
            .map(|row| cells(&row.name, row.counts.map(|n| n.to_string())));
        let head = cells(list.title, list.counts.map(str::to_owned)).bold();
        let widths = [
            Constraint::Fill(1),
            Constraint::Length(9),
            Constraint::Length(11),
        ];
        frame.render_widget(Table::new(rows, widths).header(head), area);
    }
}

/// The next key, if one comes in time.
fn pressed(wait: Duration) -> io::Result<Option<KeyEvent>> {
    match event::poll(wait)? {
        true => Ok(event::read()?
            .as_key_press_event()
            .or_else(|| Some(KeyCode::Null.into()))),
        false => Ok(None),
    }
}

fn is_end(key: KeyEvent) -> bool {
    let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
    match key.code {
        KeyCode::Char('q') | KeyCode::Esc => true,
        KeyCode::Char('c') => is_control,
        _ => false,
    }
}

const EVERY: Duration = Duration::from_secs(1);
/// Its head, two rows, and a blank line.
const LIST_LINES_MIN: u16 = 4;
const KEYS: &str = "q quit  1 2 n sort by first, second count or name  Tab next list first";

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;
    use crate::status_cli::tests::status;
    use crate::top_cli::lists;

    fn drawn(width: u16, height: u16, keys: &[KeyCode]) -> String {
        let status = status();
        let look = Look {
            lists: lists(&status, &status.sites),
            status,
        };
        let print = Printer {
            json: false,
            utf8: false,
        };
        let mut screen = Screen::new(look, print);
        keys.iter().for_each(|key| screen.press(*key));
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| screen.draw(frame)).unwrap();
        let buffer = terminal.backend().buffer();
        let lines = buffer.content().chunks(usize::from(width));
        let line = |cells: &[ratatui::buffer::Cell]| {
            let line: String = cells.iter().map(|cell| cell.symbol()).collect();
            line.trim_end().to_owned() + "\n"
        };
        lines.map(line).collect()
    }

    #[test]
    fn a_screen() {
        assert_eq!(drawn(80, 24, &[]), include_str!("screen.txt"));
    }

    #[test]
    fn keys_sort_and_a_small_terminal_has_one_list() {
        let small = drawn(40, 14, &[KeyCode::Tab, KeyCode::Tab, KeyCode::Char('n')]);
        let at = |text: &str| {
            small
                .find(text)
                .unwrap_or_else(|| panic!("no {text}:\n{small}"))
        };
        assert!(at("blocked") < at("hosted-unknown"), "{small}");
        assert!(!small.contains("results"), "{small}");
        for (width, height) in [(1, 1), (3, 2), (10, 5), (300, 3)] {
            drawn(width, height, &[]);
        }
    }
}
