//! The stand-in for Hugging Face's router as a program, to be tried by hand:
//! `cargo run --example hf-router`, and then on its input
//!
//! ```text
//! rows                  the ways to fail, by name
//! play NAME             the next prompt is answered so
//! behave                nothing is out of order any more
//! bill CENTS            each prompt so far is on the bill with so many cents
//! ```
//! An end of input ends it.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "it is a program for people who try things")]

#[path = "mod.rs"]
mod hf;

use std::io;

use hf::{Router, TOKEN, faults::ROWS, hub::BILLING_TOKEN};

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:0".into());
    let router = Router::on(&address);
    println!("cloud.base_url = {}\ncloud.hub_url = {}", router.base_url(), router.hub_url());
    println!("token {TOKEN}, for bills {BILLING_TOKEN}; the models are org/small and org/large");
    for line in io::stdin().lines() {
        let line = line?;
        match line.trim().split_once(' ').unwrap_or((line.trim(), "")) {
            ("rows", _) => ROWS.iter().for_each(|row| println!("{:<42} {}", row.name, row.class)),
            ("play", name) => match ROWS.iter().find(|row| row.name == name) {
                Some(row) => router.play(None, 1, row.script),
                None => println!("there is no row `{name}`; `rows` lists them"),
            },
            ("behave", _) => router.behave(),
            ("bill", cents) => match cents.parse() {
                Ok(cents) => router.bill(|_| Some(cents)),
                Err(_) => println!("`{cents}` is no number of cents"),
            },
            _ => println!("rows | play NAME | behave | bill CENTS"),
        }
        println!("{} prompts so far", router.prompts().len());
    }
    Ok(())
}
