"""SQLAlchemy's asynchronous sessions, by greenlets, on asyncpg and on aiosqlite."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import ForeignKey, func, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncAttrs, AsyncEngine, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship, selectinload

import servers

Run = Callable[[Any], Any]


class Base(AsyncAttrs, DeclarativeBase):
    pass


class Author(Base):
    __tablename__ = "author"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    books: Mapped[list["Book"]] = relationship(back_populates="author")


class Book(Base):
    __tablename__ = "book"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str]
    author_id: Mapped[int] = mapped_column(ForeignKey("author.id"))
    author: Mapped[Author] = relationship(back_populates="books")


@pytest.fixture(params=["asyncpg", "aiosqlite"])
def url(request: pytest.FixtureRequest, tmp_path: Path, postgres: servers.Server) -> str:
    if request.param == "aiosqlite":
        return f"sqlite+aiosqlite:///{tmp_path}/books.db"
    return f"postgresql+asyncpg://postgres@{postgres.host}:{postgres.port}/postgres"


@asynccontextmanager
async def tables(url: str) -> AsyncIterator[AsyncEngine]:
    engine = create_async_engine(url, **({"pool_size": 10} if "asyncpg" in url else {}))
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.drop_all)
        await connection.run_sync(Base.metadata.create_all)
    try:
        yield engine
        async with engine.begin() as connection:
            await connection.run_sync(Base.metadata.drop_all)
    finally:
        await engine.dispose()


def test_objects_and_what_belongs_to_them(run: Run, url: str) -> None:
    async def main() -> None:
        async with tables(url) as engine:
            session = async_sessionmaker(engine, expire_on_commit=False)
            async with session() as writing:
                writing.add_all(
                    [Author(name=f"author {n}", books=[Book(title=f"{n}.{k}") for k in range(3)]) for n in range(50)]
                )
                await writing.commit()
            async with session() as reading:
                authors = (await reading.scalars(select(Author).options(selectinload(Author.books)))).all()
                assert {(f"author {n}", 3) for n in range(50)} == {
                    (author.name, len(author.books)) for author in authors
                }
                book = await reading.get_one(Book, 1)
                assert "author 0" == (await book.awaitable_attrs.author).name
                streamed = await reading.stream_scalars(select(Book.title).order_by(Book.id))
                assert 150 == len([title async for title in streamed])

    run(main())


def test_what_fails_is_rolled_back(run: Run, url: str) -> None:
    async def main() -> None:
        async with tables(url) as engine:
            session = async_sessionmaker(engine)
            async with session.begin() as first:
                first.add(Author(name="only once"))
            with pytest.raises(IntegrityError):
                async with session.begin() as second:
                    second.add_all([Author(name="other"), Author(name="only once")])
            async with session() as reading:
                assert 1 == await reading.scalar(select(func.count()).select_from(Author))

    run(main())


def test_many_sessions_at_once(run: Run, url: str) -> None:
    async def main() -> None:
        async with tables(url) as engine:
            session = async_sessionmaker(engine)

            async def one(number: int) -> int:
                async with session() as mine:
                    value = await mine.scalar(text("select :number + 1").bindparams(number=number))
                    return int(value)

            assert list(range(1, 101)) == await asyncio.gather(*map(one, range(100)))

    run(main())
