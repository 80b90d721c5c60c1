"""LangChain's client."""

import os

from langchain_openai import ChatOpenAI, OpenAIEmbeddings

server = {"base_url": os.environ.get("FASTMOCK_URL", "http://127.0.0.1:8080/v1"), "api_key": "sk-test"}

chat = ChatOpenAI(model="gpt-4o", **server)
print(chat.invoke("Hello").content)

print("".join(chunk.content for chunk in chat.stream("Hello")))

# Off, because it would download the vocabulary of the tokenizer.
embeddings = OpenAIEmbeddings(model="text-embedding-3-small", check_embedding_ctx_length=False, **server)
vectors = embeddings.embed_documents(["a text", "another"])
print(len(vectors), len(vectors[0]))
